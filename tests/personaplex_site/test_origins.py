import asyncio
from ipaddress import ip_network

import pytest
from channels.testing import WebsocketCommunicator

from personaplex_site.origins import OriginCheck, is_ours


@pytest.fixture(autouse=True)
def hosts(settings):
    settings.ALLOWED_HOSTS = ["talk.example.org", "127.0.0.1", "[::1]"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://front.example", "https://*.example.net"]


HTTP, HTTPS = ("http", "talk.example.org"), ("https", "talk.example.org")


@pytest.mark.parametrize(
    ("origin", "site", "ours"),
    [
        ("http://talk.example.org", HTTP, True),
        ("https://talk.example.org", HTTPS, True),
        # Scheme.
        ("http://talk.example.org", HTTPS, False),
        ("https://talk.example.org", HTTP, False),
        ("ws://talk.example.org", HTTP, False),
        ("HTTP://talk.example.org", HTTP, True),
        # Port.
        ("http://talk.example.org:8000", HTTP, False),
        ("http://talk.example.org", ("http", "talk.example.org:8000"), False),
        ("http://talk.example.org:8000", ("http", "talk.example.org:8000"), True),
        ("http://talk.example.org:80", HTTP, True),
        ("https://talk.example.org:443", HTTPS, True),
        ("https://talk.example.org:80", HTTPS, False),
        ("http://talk.example.org:x", HTTP, False),
        ("http://talk.example.org:99999", HTTP, False),
        # Host.
        ("http://TALK.example.org", HTTP, True),
        ("http://talk.example.org.evil.example", HTTP, False),
        ("http://evil.example", HTTP, False),
        ("http://example.org", HTTP, False),
        ("http://127.0.0.1", HTTP, False),  # allowed, but not what the browser asked
        ("http://127.0.0.1:8000", ("http", "127.0.0.1:8000"), True),
        ("http://[::1]:8000", ("http", "[::1]:8000"), True),
        # A name of the attacker's that leads to our address.
        ("http://evil.example", ("http", "evil.example"), False),
        ("http://evil.example:8000", ("http", "evil.example:8000"), False),
        # No page of the web.
        ("", HTTP, False),
        ("null", HTTP, False),
        ("file://", HTTP, False),
        ("talk.example.org", HTTP, False),
        ("http://", HTTP, False),
        ("http://talk.example.org/", HTTP, False),
        ("http://talk.example.org@evil.example", HTTP, False),
        ("http://evil.example@talk.example.org", HTTP, False),
        ("http://[::1", HTTP, False),
        ("http://talk.example.org", ("http", ""), False),
        ("http://talk.example.org", ("http", "talk.example.org/x"), False),
        # Listed.
        ("https://front.example", HTTP, True),
        ("https://front.example:443", HTTPS, True),
        ("http://front.example", HTTP, False),
        ("https://front.example:8443", HTTP, False),
        ("https://a.b.example.net", HTTP, True),
        ("https://evilexample.net", HTTP, False),
        ("http://a.example.net", HTTP, False),
    ],
)
def test_only_pages_of_this_site_open_sockets(origin, site, ours):
    assert is_ours(origin, *site) is ours


def test_with_every_host_allowed_the_page_still_has_to_be_the_same(settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert is_ours("http://any.example", "http", "any.example")
    assert not is_ours("http://evil.example", "http", "any.example")


async def accept(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})


async def connects(origin, forwarded_proto=None):
    headers = [(b"host", b"talk.example.org"), (b"origin", origin.encode())]
    if forwarded_proto:
        headers.append((b"x-forwarded-proto", forwarded_proto.encode()))
    socket = WebsocketCommunicator(OriginCheck(accept), "/ws/", headers=headers)
    socket.scope["client"] = ["127.0.0.1", 1234]
    socket.scope["scheme"] = "ws"
    connected, _ = await socket.connect(timeout=30)
    return connected


def test_behind_a_proxy_with_tls_pages_are_of_https(settings):
    settings.HTTPS, settings.TRUSTED_PROXIES = True, [ip_network("127.0.0.1")]

    async def check():
        assert await connects("https://talk.example.org", "https")
        assert not await connects("http://talk.example.org", "https")
        assert not await connects("https://evil.example", "https")
        settings.TRUSTED_PROXIES = []
        assert not await connects("https://talk.example.org", "https")

    asyncio.run(check())
