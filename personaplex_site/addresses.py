"""Who a request comes from when proxies stand in front of the site.

X-Forwarded-For and X-Forwarded-Proto can be set by any client: they count
only as far as the addresses in TRUSTED_PROXIES vouch for them. Everything behind the
first middleware reads REMOTE_ADDR and may believe it. Imports nothing of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A client with one IPv6 address has its whole /64, and may use another each time.
IPV6_PREFIX = 64


def client_address(
    peer: str, forwarded_for: str, trusted: Sequence[Network] | None = None
) -> str:
    """The address that the request came from, as far as trusted proxies vouch for it.

    ``forwarded_for`` is read from its end: each proxy appends whom it heard, so the
    last entry is what the nearest proxy saw. The first address that is no trusted
    proxy is the client; what stands before it is only what the client claims. An entry
    that is no address ends the reading, at the proxy that sent it.
    """
    if trusted is None:
        trusted = settings.TRUSTED_PROXIES
    here = parse(peer)
    if here is None:
        return peer
    for entry in reversed(forwarded_for.split(",")):
        if not is_trusted(here, trusted):
            break
        sender = parse(entry)
        if sender is None:
            break
        here = sender
    return str(here)


def parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    # A socket for both protocols shows IPv4 clients so.
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def is_trusted(address: Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def limited_network(address: str) -> str:
    """Under which name an address is counted where attempts are limited."""
    parsed = parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed or "unknown")


@sync_and_async_middleware
def client_address_middleware(get_response: Callable[[HttpRequest], Any]) -> Any:
    """The first of all: those behind it may believe REMOTE_ADDR and the scheme."""
    if iscoroutinefunction(get_response):

        async def settle_and_await(request: HttpRequest) -> Any:
            settle(request.META)
            return await get_response(request)

        return settle_and_await

    def settle_and_call(request: HttpRequest) -> Any:
        settle(request.META)
        return get_response(request)

    return settle_and_call


def settle(meta: dict[str, Any]) -> None:
    """Put the client's address where the peer's was, and drop a scheme that no trusted
    proxy vouches for."""
    peer = str(meta.get("REMOTE_ADDR") or "")
    if not is_trusted(parse(peer), settings.TRUSTED_PROXIES):
        meta.pop("HTTP_X_FORWARDED_PROTO", None)
    meta["REMOTE_ADDR"] = client_address(peer, meta.get("HTTP_X_FORWARDED_FOR", ""))


def socket_scheme(scope: Mapping[str, Any]) -> str:
    """``https`` or ``http``: how a browser reached the site that opens a WebSocket."""
    if scope.get("scheme") in ("wss", "https"):
        return "https"
    peer = parse(str((scope.get("client") or [""])[0] or ""))
    if settings.HTTPS and is_trusted(peer, settings.TRUSTED_PROXIES):
        scheme = dict(scope["headers"]).get(b"x-forwarded-proto", b"")
        if scheme.split(b",")[0].strip() == b"https":
            return "https"
    return "http"
