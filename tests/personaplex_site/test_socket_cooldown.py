"""A browser that opens sockets without end costs nothing but refusals."""

import pytest

from personaplex_site import socket_cooldown
from personaplex_site.socket_cooldown import Openings, SocketCooldown
from personaplex_site.socket_limits import TOO_FAST


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(socket_cooldown.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def limits(settings):
    settings.SOCKET_OPENINGS_BURST = 5
    settings.SOCKET_OPENINGS_PER_MINUTE = 60
    settings.SOCKET_COOLDOWN_SECONDS = 10


def test_a_burst_is_taken_and_then_one_a_second(clock):
    openings = Openings()
    assert [openings.spend(b"a") for _ in range(6)] == [True] * 5 + [False]
    assert openings.spend(b"b")
    clock[0] += 1
    assert [openings.spend(b"a") for _ in range(2)] == [True, False]


def test_the_browser_longest_ago_is_forgotten(clock, monkeypatch):
    monkeypatch.setattr(socket_cooldown, "MAX_BROWSERS", 2)
    openings = Openings()
    for key in (b"a", b"b", b"c"):
        assert openings.spend(key, 5)
    assert openings.spend(b"a") and not openings.spend(b"c")


def scope(session):
    cookie = f"sessionid={session}; x=1".encode()
    headers = [(b"cookie", cookie)]
    return {"type": "websocket", "path": "/ws/", "headers": headers}


async def opened(site, session, code=1000, closes_with=None):
    """Whether the application was asked."""
    asked, sent = [], []

    async def receive():
        return {"type": "websocket.disconnect", "code": code}

    async def send(message):
        sent.append(message)

    async def application(scope, receive, send):
        if closes_with:
            await send({"type": "websocket.close", "code": closes_with})
        asked.append(await receive())

    site._application = application
    await site(scope(session), receive, send)
    return bool(asked)


async def test_one_that_was_cut_off_stays_away_for_a_while(clock, settings):
    settings.SESSION_COOKIE_NAME = "sessionid"
    site = SocketCooldown(None)
    assert await opened(site, "a", TOO_FAST)
    assert not await opened(site, "a")
    assert await opened(site, "b")
    clock[0] += 9
    assert not await opened(site, "a")
    clock[0] += 2
    assert await opened(site, "a")


async def test_so_does_one_whose_messages_are_malformed(clock, settings):
    settings.SESSION_COOKIE_NAME = "sessionid"
    site = SocketCooldown(None)
    assert await opened(site, "a", closes_with=4400)
    assert not await opened(site, "a")
    assert await opened(site, "b", closes_with=1000)
    assert await opened(site, "b")


async def test_what_is_no_session_is_refused_without_asking_for_it(settings):
    settings.SESSION_COOKIE_NAME = "sessionid"
    site = SocketCooldown(None)
    assert not await opened(site, '"aaaa\\000aaaa"')
    assert not await opened(site, "a b")
    assert await opened(site, "")
