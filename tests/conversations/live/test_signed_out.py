"""Sockets of people who signed out, or whose account was closed."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError
from django.test import Client

from conversations.live import shutdown
from conversations.models import Conversation
from personaplex_site import signed_in
from personaplex_site.sessions import SessionStore
from tests.conversations.browser import Browser
from tests.conversations.live.test_hostile import settled

BACKEND = "django.contrib.auth.backends.ModelBackend"


async def watched(number):
    """A socket is accepted before the site has found out whose it is."""
    async with asyncio.timeout(10):
        while len(signed_in._open) != number:
            await asyncio.sleep(0.01)


@pytest.fixture
def client():
    return Client()


@pytest.fixture
async def signed_in_browser(new_browser, cast, client):
    await sync_to_async(client.force_login)(cast[0], BACKEND)
    key = client.session.session_key

    def make():
        browser = new_browser()
        browser.scope["session"] = SessionStore(key)
        return browser

    return make


@sync_to_async
def sign_out(client, alice):
    client.post("/sign-out/")


@sync_to_async
def deactivate(client, alice):
    alice.is_active = False
    alice.save()


@sync_to_async
def change_password(client, alice):
    """Somewhere else: sessions with the old one are signed out."""
    alice.set_password("another one, quite long")
    alice.save()


@sync_to_async
def delete(client, alice):
    alice.delete()


@sync_to_async
def look_after_a_new_password(client, alice):
    """The page signs this browser out before the sockets are looked at."""
    alice.set_password("another one, quite long")
    alice.save()
    assert client.get("/").status_code == 302


WAYS = [
    (sign_out, "signed_out"),
    (deactivate, "account_closed"),
    (change_password, "password_changed"),
    (look_after_a_new_password, "password_changed"),
    (delete, "account_closed"),
]


@pytest.mark.parametrize(("way", "reason"), WAYS)
async def test_it_ends_the_conversation(
    signed_in_browser, client, cast, worker, way, reason, monkeypatch
):
    monkeypatch.setattr("conversations.frame_log.writer.HEARTBEAT_SECONDS", 60)
    browser = await signed_in_browser().start()
    await browser.converse(3)
    await signed_in.check()
    await browser.converse(3, first=3)
    ready = browser.event("ready")
    await way(client, cast[0])
    await signed_in.check()
    assert await browser.until_closed() == 1000
    assert browser.event("ended")["reason"] == reason
    await settled()
    await worker.until_free()
    rows = Conversation.objects.values_list("end_reason", flat=True)
    left = [] if way is delete else [reason]
    assert await sync_to_async(list)(rows) == left
    # Channels finds no user in such a session any more.
    again = Browser(cast[2].pk, AnonymousUser())
    await again.ask_to_resume(ready)
    assert await again.until_closed() == 4401


async def test_it_closes_a_socket_that_has_not_started(
    signed_in_browser, client, cast, worker
):
    browser = await signed_in_browser().open()
    await watched(1)
    await sign_out(client, cast[0])
    await signed_in.check()
    assert await browser.until_closed() == 4401
    await browser.leave(4401)
    await watched(0)


async def test_it_ends_waiting_and_opening(signed_in_browser, client, cast, worker):
    worker.prime_seconds = 1.0
    browser = await signed_in_browser().open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    await browser.until_state("priming")
    await sign_out(client, cast[0])
    await signed_in.check()
    assert await browser.until_closed() == 4401
    await settled()


async def test_others_continue(signed_in_browser, new_browser, client, cast, worker):
    """One of two sockets of the same person is of another session."""
    one, two = await signed_in_browser().start(), await new_browser().start()
    await sign_out(client, cast[0])
    await signed_in.check()
    assert await one.until_closed() == 1000
    await two.converse(2)
    await two.leave()


async def test_it_is_checked_now_and_then(
    signed_in_browser, client, cast, worker, settings
):
    settings.SOCKET_CHECK_SECONDS = 0.05
    browser = await signed_in_browser().start()
    await sign_out(client, cast[0])
    assert await browser.until_closed() == 1000
    await settled()


OLD, NEW = "correct horse battery", "staple of another kind"


def new_password_on_the_page(client, alice):
    fields = {"old_password": OLD, "new_password1": NEW, "new_password2": NEW}
    assert client.post("/account/password/", fields).status_code == 302


def new_password_in_the_admin(client, alice):
    url = f"/admin/auth/user/{alice.pk}/password/"
    fields = {"usable_password": "true", "password1": NEW, "password2": NEW}
    assert client.post(url, fields).status_code == 302


@pytest.mark.parametrize(
    "change", [new_password_on_the_page, new_password_in_the_admin]
)
async def test_the_browser_that_changes_its_password_goes_on(
    new_browser, cast, worker, change
):
    alice, here, elsewhere = cast[0], Client(), Client()

    @sync_to_async
    def sign_in_twice():
        alice.is_staff = alice.is_superuser = True
        alice.set_password(OLD)
        alice.save()
        for client in (here, elsewhere):
            client.force_login(alice, BACKEND)

    await sign_in_twice()
    ours, theirs = new_browser(), new_browser()
    ours.scope["session"] = SessionStore(here.session.session_key)
    theirs.scope["session"] = SessionStore(elsewhere.session.session_key)
    await ours.start()
    await theirs.start()
    await sync_to_async(change)(here, alice)
    await signed_in.check()
    assert await theirs.until_closed() == 1000
    assert theirs.event("ended")["reason"] == "password_changed"
    await ours.converse(3)
    # The old key is nobody's, and the new one signs out as any other.
    old = Client()
    old.cookies[settings.SESSION_COOKIE_NAME] = ours.scope["session"].session_key
    page = await sync_to_async(old.get)("/")
    assert page.status_code == 302
    await sign_out(here, alice)
    await signed_in.check()
    assert await ours.until_closed() == 1000
    assert ours.event("ended")["reason"] == "signed_out"
    await settled()


async def test_without_the_database_no_one_is_signed_out(
    signed_in_browser, client, cast, worker, settings, monkeypatch
):
    settings.SOCKET_CHECK_SECONDS = 0.02
    ask, asked = signed_in.signed_out, []

    def away(sockets):
        asked.append(sockets)
        if len(asked) < 3:
            raise OperationalError("the server is away")
        return ask(sockets)

    monkeypatch.setattr(signed_in, "signed_out", away)
    browser = await signed_in_browser().start()
    await browser.converse(3)
    while len(asked) < 4:
        await browser.converse(1, first=browser.frames[-1][3] + 1, pace=0.05)
    await browser.leave()


async def test_all_sockets_are_asked_for_at_once(
    signed_in_browser, cast, worker, django_assert_num_queries
):
    browsers = [await signed_in_browser().open() for _ in range(5)]
    await watched(5)

    @sync_to_async
    def ask():
        with django_assert_num_queries(2):
            assert signed_in.signed_out(signed_in._open) == {}

    await ask()
    for browser in browsers:
        await browser.leave()
    await watched(0)
    assert not shutdown._running
