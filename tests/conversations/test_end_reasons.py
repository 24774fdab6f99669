"""Every end reason, each made to happen."""

import asyncio
import signal
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import Client
from django.utils import timezone

from conversations.errors import ConversationGone, EndReason
from conversations.frame_log.format import unpack_user_packets
from conversations.live import shutdown
from conversations.models import Conversation
from personaplex_site import signed_in
from tests.conversations.browser import PCM
from tests.conversations.echo_worker import MODEL_ERROR, STOPPING
from tests.factories import ConversationFactory


@pytest.fixture
def reason(the_conversation, worker):
    async def read():
        for _ in range(100):  # the socket closes a moment before all is done
            if not (worker.sessions or shutdown._running):
                break
            await asyncio.sleep(0.02)
        conversation, _ = await the_conversation()
        assert not worker.sessions, "the slot is still taken"
        assert not shutdown._running, "a task was left behind"
        return conversation.end_reason

    return read


@pytest.fixture
def reason_unless_resumed(the_conversation, worker):
    """What it was parked with, which becomes the reason when it is not resumed."""

    async def read():
        for _ in range(100):
            if not shutdown._running:
                break
            await asyncio.sleep(0.02)
        conversation, _ = await the_conversation()
        assert conversation.is_live
        assert [session.parked for session in worker.sessions.values()] == [True]
        parked_at = conversation.parked_at

        @sync_to_async
        def sweep():
            rows = Conversation.objects.all()
            assert rows.end_abandoned() == 0, "it still may come back"
            rows.update(parked_at=parked_at - timedelta(seconds=31))
            assert not rows.live().exists(), "none is live"
            assert rows.end_abandoned() == 1
            assert rows.end_abandoned() == 0

        await sweep()
        ended, _ = await the_conversation()
        assert ended.parked_at is None
        assert ended.ended_at == parked_at - timedelta(seconds=31)
        assert conversation.parked_reason == ended.end_reason
        return ended.end_reason

    return read


async def test_user_ended(browser, worker, reason):
    await browser.start()
    await browser.send_json_to({"type": "end"})
    assert await browser.until_closed() == 1000
    ended = browser.event("ended")
    assert ended["text"] == "You ended the conversation"
    await browser.leave(1000)
    assert await reason() == "user_ended"


async def test_ended_elsewhere(browser, worker, reason, cast, the_conversation):
    """By the button on its page, which another process made."""
    await browser.start()
    await browser.converse(3)
    row, _ = await the_conversation()
    client = Client()

    @sync_to_async(thread_sensitive=False)
    def press_end():
        client.force_login(cast[0])
        page = client.get(row.get_absolute_url())
        assert page.context["end_url"] in page.text
        response = client.post(page.context["end_url"], follow=True)
        connections.close_all()
        return response.text

    pressed = asyncio.create_task(press_end())
    assert await browser.until_closed() == 1000
    text = "You ended it from another page"
    assert browser.event("ended")["text"] == text
    page = await pressed
    assert "The conversation has ended." in page
    assert text in page
    assert await reason() == "ended_elsewhere"
    _, chunks = await the_conversation()
    assert sum(chunk.frames for chunk in chunks) == 3


@pytest.mark.parametrize("code", [1000, 1001, 1005])
async def test_user_left(browser, worker, reason, code):
    await browser.start()
    await browser.say(0)
    await browser.leave(code)
    assert await reason() == "user_left"


async def test_network_lost(browser, worker, reason_unless_resumed):
    await browser.start()
    await browser.leave(1006)
    assert await reason_unless_resumed() == "network_lost"


async def test_network_lost_when_nothing_is_taken(
    browser, worker, reason_unless_resumed, monkeypatch
):
    monkeypatch.setattr("conversations.live.outbox.STALLED_SECONDS", 0.3)
    monkeypatch.setattr("conversations.live.browser.SEND_SECONDS", 0.1)
    await browser.start()
    stuck = asyncio.Event()

    async def never(message):
        await stuck.wait()

    live = next(iter(shutdown._running.values()))
    live._browser.outbox._send = live._browser._send = never
    await browser.say(0)
    await asyncio.sleep(1)
    await browser.leave()
    assert await reason_unless_resumed() == "network_lost"


async def test_inactivity(browser, worker, reason, settings):
    settings.CONVERSATION_INACTIVITY_SECONDS = 1
    await browser.start()
    assert await browser.until_closed() == 1000
    assert browser.event("ended")["reason"] == "inactivity"
    assert await reason() == "inactivity"


async def test_max_duration(browser, worker, reason, settings):
    settings.CONVERSATION_MAX_SECONDS = 1
    await browser.start()
    assert browser.event("ready")["max_seconds"] == 1
    await browser.converse(10, pace=0.05)
    assert await browser.until_closed() == 1000
    assert browser.event("ended")["reason"] == "max_duration"
    assert await reason() == "max_duration"


async def test_worker_lost(browser, worker, reason, settings):
    settings.RECOVER_SECONDS = 1
    await browser.start()
    await browser.converse(5)
    worker.kill()
    assert await browser.until_closed() == 1000
    states = [e["state"] for e in browser.events if e["type"] == "state"]
    assert states == ["connecting", "priming", "live", "recovering"]
    assert browser.event("ended")["reason"] == "worker_lost"
    assert await reason() == "worker_lost"


async def test_worker_lost_when_it_hangs(
    browser, worker, reason, monkeypatch, the_conversation
):
    """Whichever worker takes it hangs: after the third the conversation ends."""
    monkeypatch.setattr(
        "conversations.live.worker_connection.WORKER_SILENT_SECONDS", 0.2
    )
    worker.hang_at = 3
    await browser.start()
    for seq in range(6):
        await browser.say(seq)
        await asyncio.sleep(0.02)
    for seq in range(6, 60):
        if browser.close_code is not None or not shutdown._running:
            break
        await browser.say(seq)
        await asyncio.sleep(0.08)
    assert await browser.until_closed() == 1000
    assert await reason() == "worker_lost"
    conversation, chunks = await the_conversation()
    assert conversation.frames == 3
    kept = unpack_user_packets(bytes(chunks[-1].user_packets))
    assert [user.seq for user in kept][:3] == [3, 4, 5]  # unanswered ones as well


async def test_model_error(browser, worker, reason):
    """A worker that fails is asked again, once."""
    worker.fail_at = {2: MODEL_ERROR}
    await browser.start()
    for seq in range(3):
        await browser.say(seq)
    while len(worker.opened) < 2:
        await asyncio.sleep(0.01)
    await browser.until("state")
    await browser.say(3)
    assert await browser.until_closed() == 1000
    assert browser.event("ended")["reason"] == "model_error"
    assert await reason() == "model_error"


@pytest.mark.parametrize("wrong", [{"frame": 7}, {"seq": 99}])
async def test_model_error_when_the_worker_answers_nonsense(
    browser, worker, reason, wrong
):
    worker.mistake = lambda result: replace(result, **wrong)
    await browser.start()
    await browser.say(0)
    while len(worker.attached) < 1:
        await asyncio.sleep(0.01)
    await browser.say(1)
    assert await browser.until_closed() == 1000
    assert await reason() == "model_error"


async def test_shutdown_of_the_worker(browser, worker, reason, settings):
    settings.RECOVER_SECONDS = 1
    worker.fail_at = {1: STOPPING}
    await browser.start()
    await browser.say(0)
    worker.draining = True
    await browser.say(1)
    assert await browser.until_closed() == 1000
    assert await reason() == "shutdown"


async def test_shutdown_of_the_web_process(
    browser, worker, reason_unless_resumed, the_conversation
):
    """SIGTERM: another process may resume it."""
    await browser.start()
    await browser.converse(3)
    await shutdown.release_all()
    assert await browser.until_closed() == 4412
    assert browser.event("ended") is None
    _, chunks = await the_conversation()
    assert sum(chunk.frames for chunk in chunks) == 3
    assert await reason_unless_resumed() == "shutdown"


async def test_shutdown_of_the_product(browser, worker, reason, monkeypatch):
    """SIGINT: no process will."""
    monkeypatch.setattr(
        "conversations.live.shutdown._stopped_by", lambda: signal.SIGINT
    )
    monkeypatch.setattr("conversations.live.shutdown.is_stopping", lambda: False)
    await browser.start()
    await browser.say(0)
    await shutdown.release_all()
    assert await browser.until_closed() == 1000
    assert browser.event("ended")["reason"] == "shutdown"
    assert await reason() == "shutdown"


async def test_shutdown_when_the_server_cancels_the_application(
    browser, worker, reason_unless_resumed
):
    await browser.start()
    browser.future.cancel()
    await asyncio.wait({browser.future}, timeout=5)
    assert await reason_unless_resumed() == "shutdown"


async def test_a_process_that_stops_admits_no_one(browser, monkeypatch):
    monkeypatch.setattr(
        "conversations.live.shutdown._stopped_by", lambda: signal.SIGTERM
    )
    await browser.open()
    assert await browser.until_closed() == 4412


async def test_protocol(browser, worker, reason):
    await browser.start()
    await browser.say(0, kind=PCM)
    assert await browser.until_closed() == 4400
    await browser.leave(4400)
    assert await reason() == "protocol"


@pytest.fixture
async def signed_in_browser(browser, worker, cast):
    """More in test_signed_out.py."""
    client = Client()
    await sync_to_async(client.force_login)(cast[0])
    browser.scope["session"] = client.session
    return await browser.start()


async def test_signed_out(signed_in_browser, reason):
    await sync_to_async(signed_in_browser.scope["session"].flush)()
    await signed_in.check()
    assert await signed_in_browser.until_closed() == 1000
    assert await reason() == "signed_out"


async def test_password_changed(signed_in_browser, reason, cast):
    cast[0].set_password("another one, quite long")
    await sync_to_async(cast[0].save)()
    await signed_in.check()
    assert await signed_in_browser.until_closed() == 1000
    assert await reason() == "password_changed"


async def test_account_closed(signed_in_browser, reason, cast):
    cast[0].is_active = False
    await sync_to_async(cast[0].save)()
    await signed_in.check()
    assert await signed_in_browser.until_closed() == 1000
    assert await reason() == "account_closed"


async def test_site_error(browser, worker, reason, monkeypatch, caplog):
    def broken(self, pcm):
        raise RuntimeError("the encoder broke")

    monkeypatch.setattr("conversations.audio.opus.Encoder.encode", broken)
    await browser.start()
    live = next(iter(shutdown._running.values()))
    live._state.path._decode = lambda frame: (np.zeros(1920, np.int16), b"x")
    await browser.say(0, payload=b"anything")
    assert await browser.until_closed() == 1000
    assert await reason() == "site_error"
    assert "the encoder broke" in caplog.text


async def test_leaving_while_the_model_is_primed_leaves_nothing(browser, worker):
    worker.prime_seconds = 1.5
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    while (browser.events or [{}])[-1].get("state") != "priming":
        await browser.take()
    await asyncio.sleep(0.1)
    await browser.leave()
    assert await sync_to_async(Conversation.objects.count)() == 0
    assert not shutdown._running


def test_web_lost(db):
    stale = ConversationFactory(
        ended_at=None,
        end_reason="",
        alive_at=timezone.now() - timedelta(seconds=26),
    )
    fresh = ConversationFactory(ended_at=None, end_reason="")
    assert Conversation.objects.end_abandoned() == 1
    assert Conversation.objects.end_abandoned() == 0
    stale.refresh_from_db()
    fresh.refresh_from_db()
    assert stale.end_reason == "web_lost"
    assert stale.ended_at == stale.alive_at  # when it was last heard of
    assert fresh.is_live


def test_an_end_is_written_once(db):
    conversation = ConversationFactory(ended_at=None, end_reason="")
    assert conversation.finish(EndReason.USER_LEFT) is True
    assert conversation.finish(EndReason.WORKER_LOST) is False
    conversation.refresh_from_db()
    assert conversation.end_reason == "user_left"


def test_the_process_that_had_the_lease_corrects_the_sweep(db):
    conversation = ConversationFactory(
        ended_at=None, end_reason="", alive_at=timezone.now() - timedelta(minutes=1)
    )
    Conversation.objects.end_abandoned()
    conversation.touch()  # the web process is alive after all
    conversation.refresh_from_db()
    assert conversation.is_live
    assert conversation.finish(EndReason.MAX_DURATION) is True
    with pytest.raises(ConversationGone):
        conversation.touch()


async def test_context_full(browser, worker, reason, settings):
    settings.WHEN_FULL = "end"
    worker.context_frames = 12
    await browser.start()
    assert browser.event("ready")["when_full"] == "end"
    await browser.converse(12)
    await browser.until_closed(timeout=20)
    assert browser.event("ended")["reason"] == "context_full"
    assert await reason() == "context_full"


def test_every_reason_has_a_test():
    names = [name for name in globals() if name.startswith("test_")]
    for reason in EndReason.values:
        assert any(name.startswith(f"test_{reason}") for name in names), reason
