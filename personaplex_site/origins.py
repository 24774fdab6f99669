"""Which pages may open WebSockets: those of this site, by scheme, host and port.

A browser lets a page of any site open a socket to any other and sends the cookies
along; only ``Origin`` tells. Forms have the same rule in Django's CSRF protection.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from personaplex_site.addresses import socket_scheme

log = logging.getLogger(__name__)

PORTS = {"http": 80, "https": 443}
LOGGED_CHARACTERS = 100
DEBUG_HOSTS = [".localhost", "127.0.0.1", "[::1]"]  # as in Django, with none allowed


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int


class OriginCheck:
    """Refuses a WebSocket before the handshake, with 403, unless its page is ours."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1")
        scheme = socket_scheme(scope)
        if is_ours(origin, scheme, host):
            await self._application(scope, receive, send)
            return
        log.warning(
            "socket refused: its page is of %.*r, the site is %s at %.*r. If a proxy "
            "stands in front, see TRUSTED_PROXIES and CSRF_TRUSTED_ORIGINS",
            *(LOGGED_CHARACTERS, origin, scheme, LOGGED_CHARACTERS, host),
        )
        await WebsocketDenier()(scope, receive, send)


def is_ours(origin: str, scheme: str, host: str) -> bool:
    """Whether the page's origin is the one that its browser reached us by, or a listed
    one. The host has to be allowed as well: where an attacker's name leads to our
    address, origin and Host agree."""
    page = parse_origin(origin)
    if page is None:
        return False
    if _is_listed(page, origin, settings.CSRF_TRUSTED_ORIGINS):
        return True
    name, _ = split_domain_port(host)
    allowed = settings.ALLOWED_HOSTS or (DEBUG_HOSTS if settings.DEBUG else [])
    if not name or not validate_host(name, allowed):
        return False
    return page == parse_origin(f"{scheme}://{host}")


def parse_origin(text: str) -> Origin | None:
    """None for what is no origin of the web: nothing, ``null``, a file, an app."""
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None
    if scheme not in PORTS or not host or parts.netloc != text.partition("://")[2]:
        return None
    if parts.username is not None or parts.password is not None:
        return None
    return Origin(scheme, host, PORTS[scheme] if port is None else port)


def _is_listed(page: Origin, origin: str, listed: Sequence[str]) -> bool:
    """``https://*.example.org`` stands for every name below, as in Django."""
    for entry in listed:
        if "*" not in entry:
            if parse_origin(entry) == page:
                return True
            continue
        pattern = parse_origin(entry.replace("*", "", 1))
        if (
            pattern is not None
            and (pattern.scheme, pattern.port) == (page.scheme, page.port)
            and is_same_domain(page.host, pattern.host)
        ):
            return True
    return False
