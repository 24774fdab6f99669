"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from personaplex_site.accounts import (
    PasswordView,
    SignInView,
    SignOutView,
    admin_sign_in,
)
from personaplex_site.views import favicon, healthz

PASSWORD_OF_ADMIN = RedirectView.as_view(pattern_name="password_change")

handler400 = "personaplex_site.error_pages.bad_request"
handler500 = "personaplex_site.error_pages.server_error"

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("favicon.ico", favicon, name="favicon"),
    # Instead of the admin's own: limits on passwords are kept in one place.
    path("admin/login/", admin_sign_in),
    path("admin/logout/", SignOutView.as_view()),
    path("admin/password_change/", PASSWORD_OF_ADMIN),
    path("admin/", admin.site.urls),
    path("sign-in/", SignInView.as_view(), name="login"),
    path("sign-out/", SignOutView.as_view(), name="logout"),
    path("account/password/", PasswordView.as_view(), name="password_change"),
    path("api/workers/", include("inference.urls")),
    path("conversations/", include("conversations.urls")),
    path("", include("personas.urls")),
]
