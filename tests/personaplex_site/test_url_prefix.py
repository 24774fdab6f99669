"""URL_PREFIX: what it may be, and how it is taken off."""

import re
import runpy
from functools import partial

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver

from conversations.routing import websocket_urlpatterns as conversation_sockets
from personaplex_site import env
from personaplex_site.checks import OUR_PATHS, check_url_prefix
from personaplex_site.env import envprefix
from personaplex_site.url_prefix import UnderPrefix
from personas.routing import websocket_urlpatterns as persona_sockets
from tests.personas.forms import filled_in

KINDS = ("SESSION", "CSRF")


async def scope_of(path, raw, kind="http", prefix="/a"):
    found = []

    async def application(scope, receive, send):
        found.append((scope["path"], scope["raw_path"], scope["root_path"]))

    scope = {"type": kind, "path": path, "raw_path": raw, "root_path": "/evil"}
    await UnderPrefix(application, prefix)(scope, None, None)
    return found[0]


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_prefix_is_taken_off_once(kind):
    assert await scope_of("/a/b c", b"/a/b%20c", kind) == ("/b c", b"/b%20c", "")
    assert await scope_of("/a/a/", b"/a/a/", kind) == ("/a/", b"/a/", "")
    assert await scope_of("/ab/", b"/ab/", kind) == ("/ab/", b"/ab/", "")
    assert await scope_of("/a/b", b"/%61/b", kind) == ("/a/b", b"/%61/b", "")
    assert await scope_of("/a/b", b"/a/b", kind, "") == ("/a/b", b"/a/b", "")


@pytest.mark.parametrize("value", ["", "/a", "/a/b", "/personaplex", "/~me/v1.0_x-y"])
def test_a_path_is_taken(monkeypatch, value):
    monkeypatch.setenv("URL_PREFIX", value)
    assert envprefix("URL_PREFIX", "") == value


@pytest.mark.parametrize(
    "value",
    [
        *("/", "a", "a/b", "/a/", "//a", "/a//b", "/a b", "/ä", "/a?b", "/a#b", "/%61"),
        *("/..", "/a/../b", "/.", "http://example.org/a", "/a;b", '/a"', "/a\n"),
    ],
)
def test_anything_else_is_refused(monkeypatch, value):
    monkeypatch.setenv("URL_PREFIX", value)
    with pytest.raises(ImproperlyConfigured, match="URL_PREFIX must be a path such as"):
        envprefix("URL_PREFIX", "")


def settings_with(monkeypatch, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(env.__file__.replace("env.py", "settings.py"))


def test_cookies_have_names_that_no_other_site_has(monkeypatch):
    """Of another Django site on the same host name, or of another one like this."""
    read = partial(settings_with, monkeypatch)
    sites = [read(URL_PREFIX=prefix) for prefix in ("", "/a", "/b", "/a/b")]
    names = [site[f"{kind}_COOKIE_NAME"] for site in sites for kind in KINDS]
    assert not {*names} & {"sessionid", "csrftoken", "messages"}
    assert len({*names}) == len(names)
    paths = [[site[f"{kind}_COOKIE_PATH"] for kind in KINDS] for site in sites]
    assert paths == [["/"] * 2, ["/a"] * 2, ["/b"] * 2, ["/a/b"] * 2]


def test_who_asks_from_inside_is_not_sent_to_https(monkeypatch):
    for prefix in ("", "/a.b"):
        read = settings_with(monkeypatch, URL_PREFIX=prefix, HTTPS="True")
        for path, exempt in [
            *(("healthz", True), ("api/workers/heartbeat", True)),
            *(("personas/", False), ("x/healthz", False), ("healthz/x", False)),
        ]:
            asked = f"{prefix}/{path}"[1:]  # as Django's middleware looks at it
            patterns = read["SECURE_REDIRECT_EXEMPT"]
            assert any(re.search(each, asked) for each in patterns) == exempt, asked
    assert not any(re.search(each, "aXb/healthz") for each in patterns)


def test_no_cookie_of_djangos_names_is_set_by_any_page(client, alice, persona):
    client.force_login(alice)
    url = f"/personas/{persona.pk}/"
    client.post(url, filled_in(client.get(url)))  # leaves a message
    client.get("/sign-in/")
    client.post("/sign-out/")
    assert {name.partition("_")[0] for name in client.cookies} == {"personaplex"}


def test_it_is_no_path_of_our_own(settings):
    settings.URL_PREFIX = "/personas/x"
    assert "which is a path of the site itself" in check_url_prefix()[0].msg
    for fine in ("", "/personaplex", "/talk/api"):
        settings.URL_PREFIX = fine
        assert check_url_prefix() == []


def test_all_our_paths_are_known():
    patterns = [*get_resolver().url_patterns, *conversation_sockets, *persona_sockets]
    nested = [each for each in patterns if str(each.pattern) == ""]
    patterns += [inner for each in nested for inner in each.url_patterns]
    firsts = {str(each.pattern).partition("/")[0] for each in patterns}
    assert firsts - {""} | {"static"} == OUR_PATHS
