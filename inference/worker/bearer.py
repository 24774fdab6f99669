"""The shared secret in an HTTP header: how it is shown, and its check."""

from __future__ import annotations

import hmac


def authorization(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def shows_secret(header: str, secret: str) -> bool:
    """Whether an Authorization header shows ``secret``; never for an empty one."""
    given, wanted = (
        text.encode(errors="surrogateescape") for text in (header, f"Bearer {secret}")
    )
    return bool(secret) and hmac.compare_digest(given, wanted)
