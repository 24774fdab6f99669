"""Every end reason, each made to happen."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from conversations import shutdown
from conversations.frames import unpack_user_packets
from conversations.models import Conversation, EndReason
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


async def test_user_ended(browser, worker, reason):
    await browser.start()
    await browser.send_json_to({"type": "end"})
    assert await browser.until_closed() == 1000
    ended = browser.event("ended")
    assert ended["text"] == "You ended the conversation"
    await browser.leave(1000)
    assert await reason() == "user_ended"


@pytest.mark.parametrize("code", [1000, 1001, 1005])
async def test_user_left(browser, worker, reason, code):
    await browser.start()
    await browser.say(0)
    await browser.leave(code)
    assert await reason() == "user_left"


async def test_network_lost(browser, worker, reason):
    await browser.start()
    await browser.leave(1006)
    assert await reason() == "network_lost"


async def test_network_lost_when_nothing_is_taken(browser, worker, reason, monkeypatch):
    monkeypatch.setattr("conversations.outbox.STALLED_SECONDS", 0.3)
    monkeypatch.setattr("conversations.live.SEND_SECONDS", 0.1)
    await browser.start()
    stuck = asyncio.Event()

    async def never(message):
        await stuck.wait()

    live = next(iter(shutdown._running.values()))
    live._outbox._send = live._send = never
    await browser.say(0)
    await asyncio.sleep(1)
    await browser.leave()
    assert await reason() == "network_lost"


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


async def test_worker_lost(browser, worker, reason):
    worker.die_at = 5
    await browser.start()
    for seq in range(6):
        await browser.say(seq)
    assert await browser.until_closed() == 1000
    assert browser.event("ended")["reason"] == "worker_lost"
    assert await reason() == "worker_lost"


async def test_worker_lost_when_it_hangs(
    browser, worker, reason, monkeypatch, the_conversation
):
    monkeypatch.setattr("conversations.live.WORKER_SILENT_SECONDS", 0.5)
    worker.hang_at = 3
    await browser.start()
    for seq in range(6):
        await browser.say(seq)
    assert await browser.until_closed() == 1000
    assert await reason() == "worker_lost"
    conversation, chunks = await the_conversation()
    assert conversation.frames == 3
    kept = unpack_user_packets(bytes(chunks[-1].user_packets))
    assert [user.seq for user in kept] == list(range(6))  # unanswered ones as well


async def test_model_error(browser, worker, reason):
    worker.fail_at = {2: MODEL_ERROR}
    await browser.start()
    for seq in range(3):
        await browser.say(seq)
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
    assert await browser.until_closed() == 1000
    assert await reason() == "model_error"


async def test_shutdown_of_the_worker(browser, worker, reason):
    worker.fail_at = {1: STOPPING}
    await browser.start()
    await browser.say(0)
    await browser.say(1)
    assert await browser.until_closed() == 1000
    assert await reason() == "shutdown"


async def test_shutdown_of_the_web_process(browser, worker, reason):
    await browser.start()
    await browser.say(0)
    await shutdown.end_all()
    assert await browser.until_closed() == 1000
    assert browser.event("ended")["reason"] == "shutdown"
    assert await reason() == "shutdown"


async def test_shutdown_when_the_server_cancels_the_application(
    browser, worker, reason
):
    await browser.start()
    browser.future.cancel()
    await asyncio.wait({browser.future}, timeout=5)
    assert await reason() == "shutdown"


async def test_protocol(browser, worker, reason):
    await browser.start()
    await browser.say(0, kind=PCM)
    assert await browser.until_closed() == 4400
    await browser.leave(4400)
    assert await reason() == "protocol"


async def test_site_error(browser, worker, reason, monkeypatch, caplog):
    def broken(self, pcm):
        raise RuntimeError("the encoder broke")

    monkeypatch.setattr("conversations.opus.Encoder.encode", broken)
    await browser.start()
    live = next(iter(shutdown._running.values()))
    live._parts.path._decode = lambda frame: (np.zeros(1920, np.int16), b"x")
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
        alive_at=timezone.now() - timedelta(seconds=11),
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


def test_whoever_held_it_corrects_the_sweep(db):
    conversation = ConversationFactory(
        ended_at=None, end_reason="", alive_at=timezone.now() - timedelta(minutes=1)
    )
    Conversation.objects.end_abandoned()
    assert conversation.touch() is True  # the web process is alive after all
    conversation.refresh_from_db()
    assert conversation.is_live
    assert conversation.finish(EndReason.MAX_DURATION) is True
    assert conversation.touch() is False


def test_every_reason_has_a_test():
    names = [name for name in globals() if name.startswith("test_")]
    for reason in EndReason.values:
        assert any(name.startswith(f"test_{reason}") for name in names), reason
