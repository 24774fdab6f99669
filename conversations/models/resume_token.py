"""The token by which a browser comes back to its conversation.

The page has the token, the database only its digest. It changes with every resume.
"""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What the database keeps: of no use to a person who reads it there."""
    return hashlib.sha256(token.encode()).hexdigest()
