"""What pages may do in a browser, and from where they may load what they need."""

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

# A feature that is not named keeps its default, so that each has to be named.
NO_FEATURES = (
    *("accelerometer", "browsing-topics", "camera", "display-capture"),
    *("encrypted-media", "gamepad", "geolocation", "gyroscope", "hid"),
    *("identity-credentials-get", "idle-detection", "local-fonts", "magnetometer"),
    *("midi", "otp-credentials", "payment", "picture-in-picture"),
    *("publickey-credentials-create", "publickey-credentials-get", "serial"),
    *("storage-access", "usb", "window-management", "xr-spatial-tracking"),
)
PERMISSIONS = ", ".join(
    ["microphone=(self)", *(f"{feature}=()" for feature in NO_FEATURES)]
)

CONTENT = {
    "default-src": [SELF],
    "connect-src": [SELF],
    "media-src": [SELF, "blob:"],
    "worker-src": [SELF, "blob:"],
    "img-src": [SELF, "data:"],
    "object-src": [NONE],
    "base-uri": [SELF],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
}
# Added for the admin, by what unfold's pages need: Alpine evaluates expressions in
# attributes, and charts and menus set styles in place.
ADMIN_CONTENT = {
    "script-src": [SELF, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}
