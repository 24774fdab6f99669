from ipaddress import ip_network

import pytest
from django.http import HttpRequest

from personaplex_site.addresses import (
    client_address,
    limited_network,
    settle,
    socket_scheme,
)

PROXIES = [ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
CLIENT = "198.51.100.7"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        (CLIENT, "", CLIENT),
        (CLIENT, "203.0.113.1", CLIENT),  # no trusted proxy vouches for it
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", CLIENT, CLIENT),
        ("127.0.0.1", f" {CLIENT} ", CLIENT),
        ("127.0.0.1", f"203.0.113.1, {CLIENT}", CLIENT),  # the client's own claim
        ("127.0.0.1", f"203.0.113.1, {CLIENT}, 10.1.2.3", CLIENT),
        ("127.0.0.1", f"10.9.9.9, {CLIENT}, 10.1.2.3", CLIENT),
        ("127.0.0.1", "10.0.0.2, 10.0.0.1", "10.0.0.2"),  # asked for by a proxy
        ("127.0.0.1", f"{CLIENT}, nonsense", "127.0.0.1"),
        ("127.0.0.1", f"{CLIENT}, unknown, 10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", f"{CLIENT},", "127.0.0.1"),
        ("127.0.0.1", f"{CLIENT}:1234", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1.evil.example", "127.0.0.1"),
        ("::ffff:127.0.0.1", CLIENT, CLIENT),  # a socket for both protocols
        ("127.0.0.1", f"::ffff:{CLIENT}", CLIENT),
        ("fd00::1", "2001:DB8::0:1", "2001:db8::1"),
        ("fd00::1%eth0", "2001:db8::1%<script>", "2001:db8::1"),
        ("fe80::1%eth0", CLIENT, "fe80::1"),
        ("", CLIENT, ""),
    ],
)
def test_only_trusted_proxies_are_believed(peer, forwarded_for, client):
    assert client_address(peer, forwarded_for, PROXIES) == client


def test_without_trusted_proxies_none_is(settings):
    assert settings.TRUSTED_PROXIES == []
    assert client_address("127.0.0.1", CLIENT) == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (CLIENT, CLIENT),
        ("::ffff:198.51.100.7", CLIENT),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("a path", "unknown"),
    ],
)
def test_ipv6_is_counted_by_network(address, network):
    assert limited_network(address) == network


@pytest.mark.parametrize(("peer", "believed"), [("127.0.0.1", True), (CLIENT, False)])
def test_the_scheme_is_believed_from_a_proxy_only(settings, peer, believed):
    settings.HTTPS, settings.TRUSTED_PROXIES = True, PROXIES
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_PROTO": "https"}
    settle(request.META)
    assert request.is_secure() is believed
    headers = [(b"x-forwarded-proto", b"https")]
    scope = {"scheme": "ws", "client": [peer, 1234], "headers": headers}
    assert socket_scheme(scope) == ("https" if believed else "http")


def test_a_socket_has_a_scheme_without_any_header(settings):
    scope = {"scheme": "wss", "client": None, "headers": []}
    assert socket_scheme(scope) == "https"
    assert socket_scheme({**scope, "scheme": "ws"}) == "http"
    settings.TRUSTED_PROXIES = PROXIES
    headers = [(b"x-forwarded-proto", b"https")]
    behind = {"scheme": "ws", "client": ["127.0.0.1", 1], "headers": headers}
    assert socket_scheme(behind) == "http"  # HTTPS is False: as for pages
