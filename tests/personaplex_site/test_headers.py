"""The headers of every answer, with and without HTTPS."""

from ipaddress import ip_network

import pytest
from django.conf import settings

from tests.factories import UserFactory

PROXIED = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}


@pytest.fixture
def https(settings):
    """As settings.py sets them where HTTPS is True."""
    settings.HTTPS = settings.SECURE_SSL_REDIRECT = True
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.1")]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_HSTS_SECONDS = settings.HSTS_SECONDS
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True


@pytest.mark.parametrize("url", ["/sign-in/", "/healthz", "/nothing-there", "/admin/"])
def test_every_answer_says_what_pages_may_do(client, db, url):
    headers = client.get(url).headers
    allowed = headers["Permissions-Policy"].split(", ")
    assert [one for one in allowed if not one.endswith("=()")] == ["microphone=(self)"]
    assert {"camera=()", "geolocation=()"} < set(allowed)
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in headers


def directives(response):
    policy = response.headers["Content-Security-Policy"]
    return {part.split()[0]: set(part.split()[1:]) for part in policy.split("; ")}


def test_only_the_admin_may_evaluate_and_set_styles_in_place(client, db):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    admin, ours = directives(client.get("/admin/")), directives(client.get("/"))
    assert admin["script-src"] == {"'self'", "'unsafe-eval'"}
    assert admin["style-src"] == {"'self'", "'unsafe-inline'"}
    assert not {"'unsafe-eval'", "'unsafe-inline'"} & set().union(*ours.values())
    for policy in (admin, ours):
        assert policy["frame-ancestors"] == {"'none'"}
        assert policy["form-action"] == {"'self'"}


def test_with_https_browsers_come_by_https_only(client, db, https):
    response = client.get("/sign-in/?next=/personas/new/")
    assert response.status_code == 301
    assert response.headers["Location"] == (
        "https://testserver/sign-in/?next=/personas/new/"
    )
    response = client.get("/sign-in/", headers=PROXIED)
    assert response.status_code == 200
    assert response.headers["Strict-Transport-Security"] == "max-age=2592000"
    assert response.cookies[settings.CSRF_COOKIE_NAME]["secure"]


def test_only_the_proxy_can_say_that_it_is_https(client, db, https):
    response = client.get("/sign-in/", headers=PROXIED, REMOTE_ADDR="198.51.100.1")
    assert response.status_code == 301


def test_what_is_asked_from_inside_needs_no_tls(client, db, https):
    assert client.get("/healthz").status_code == 200
    assert client.post("/api/workers/heartbeat/").status_code not in (301, 302)
