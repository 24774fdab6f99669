"""A worker that is lost, fails or drains in mid-conversation: another one continues."""

import asyncio

import numpy as np
import pytest
from asgiref.sync import sync_to_async

from conversations.audio.opus import Decoder
from conversations.frame_log.format import DROPPED, unpack_timings, unpack_user_packets
from conversations.live import shutdown
from inference.models import Worker
from tests.conversations.browser import tone
from tests.conversations.echo_worker import MODEL_ERROR, EchoWorker
from tests.conversations.live.test_resume import whole
from tests.factories import WorkerFactory

pytestmark = pytest.mark.usefixtures("no_pace")


@sync_to_async
def in_database(work):
    return work()


@pytest.fixture
async def other(worker):
    """A second worker; the first one, with more places, is asked first."""
    await in_database(lambda: Worker.objects.update(slots=9, name="first"))
    async with EchoWorker() as other:
        await in_database(lambda: WorkerFactory(url=other.url, name="second"))
        yield other


def memory(worker):
    [session] = worker.sessions.values()
    return session.memory


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_killed_worker_is_replaced_from_the_log(
    browser, worker, other, the_conversation
):
    worker.pin_prompt = True
    await browser.start(seed=3)
    await browser.converse(22)
    worker.kill()
    await browser.until_state("recovering")
    assert next(e for e in browser.events if e.get("state") == "recovering")["seconds"]
    await browser.until_state("live")
    await browser.converse(10, first=24)
    assert memory(other) == [*range(22), *range(24, 34)]
    # What it was rebuilt from: the configuration, all tokens, the newest sound.
    assert other.opened[0].sampling == worker.opened[0].sampling
    assert other.opened[0].role_prompt == worker.opened[0].role_prompt
    assert other.opened[0].pin_prompt is True, "it must be rebuilt as it was"
    [log] = other.logs
    assert log.tokens[:, 0].tolist() == list(range(22))
    assert log.user_pcm.shape == (22, 1920)
    await browser.send_json_to({"type": "end"})
    await browser.until_closed()
    conversation, chunks = await the_conversation()
    timings, users = whole(chunks)
    assert timings["seq"].tolist() == users == [*range(22), *range(24, 34)]
    assert (conversation.worker_name, conversation.moves) == ("second", 1)
    [note] = conversation.events
    assert (note["kind"], note["frame"]) == ("moved", 23)
    assert note["detail"] == "worker_lost, rebuilt"
    assert 0 < note["ms"] < 30_000
    await other.until_free()


async def test_the_sound_of_a_rebuild_is_the_very_sound_that_was_heard(
    browser, worker, other, settings
):
    """Of the newest frames only, decoded after a start somewhere before them."""
    worker.sound_frames = 12
    await browser.start()
    sound = np.concatenate([tone(10, 300), tone(10, 800)])
    for seq, pcm in enumerate(sound):
        await browser.say(seq, pcm)
    await browser.until_frame(19)
    heard = next(iter(worker.sessions.values())).heard
    worker.kill()
    await browser.until_state("recovering")
    await browser.until_state("live")
    [log] = other.logs
    assert len(log.tokens) == 20
    assert np.array_equal(log.user_pcm, np.stack(heard[-12:]))
    await browser.leave()


async def test_what_is_said_meanwhile_is_held_and_what_is_too_much_dropped(
    browser, worker, the_conversation
):
    """The same worker, restarted by its supervisor a moment later."""
    await browser.start()
    await browser.converse(5)
    worker.kill()
    await browser.until_state("recovering")
    for seq in range(5, 15):
        await browser.say(seq)
    await asyncio.sleep(0.1)
    worker.dead = False
    await browser.until_frame(14)
    assert [frame[3] for frame in browser.frames] == [*range(5), *range(9, 15)]
    await browser.converse(3, first=15)
    await browser.leave()
    conversation, chunks = await the_conversation()
    timings, users = whole(chunks)
    assert users == list(range(18))
    assert timings["dropped"].tolist() == [0, 0, 0, 0, 0, 4, *[0] * 8]
    assert timings["flags"][5] & DROPPED
    assert (conversation.dropped_frames, conversation.missing_frames) == (4, 0)
    assert conversation.moves == 1


async def test_a_socket_to_the_worker_that_broke_is_only_opened_again(
    browser, worker, the_conversation
):
    await browser.start()
    await browser.converse(5)
    worker.cut()
    await until(lambda: worker.attached)
    await browser.converse(5, first=5)
    assert "recovering" not in browser.states()
    assert len(worker.opened) == 1
    assert memory(worker) == list(range(10))
    await browser.leave()
    conversation, chunks = await the_conversation()
    assert whole(chunks)[0]["seq"].tolist() == list(range(10))
    assert [n["detail"] for n in conversation.events] == ["worker_lost, kept"]
    assert conversation.moves == 0


async def test_a_worker_that_failed_once_may_continue(
    browser, worker, the_conversation
):
    worker.fail_at = {5: MODEL_ERROR}
    await browser.start()
    await browser.converse(5)
    await browser.say(5)
    await until(lambda: len(worker.opened) == 2)
    worker.fail_at = {}
    await browser.until_state("recovering")
    await browser.until_state("live")
    await browser.converse(5, first=6)
    await browser.leave()
    conversation, _ = await the_conversation()
    assert conversation.end_reason == "user_left"
    assert conversation.frames == 10


async def test_a_draining_worker_hands_over_without_a_pause(
    browser, worker, other, the_conversation, capsys
):
    """Every user frame is answered, in order, and each is in the new one's memory."""
    await browser.start()
    await browser.converse(12)
    talking = asyncio.create_task(browser.converse(20, first=12, pace=0.03))
    await asyncio.sleep(0.1)
    await worker.drain()
    await talking
    assert [frame[3] for frame in browser.frames] == list(range(32))
    await browser.until("notice")
    assert memory(other) == list(range(32))
    await worker.until_free()
    assert "recovering" not in browser.states()
    opened, *rest = other.logs
    assert len(opened.tokens) >= 12
    assert all(len(log.tokens) == len(log.user_pcm) for log in rest)
    await browser.leave()
    conversation, chunks = await the_conversation()
    timings, users = whole(chunks)
    assert timings["seq"].tolist() == users == list(range(32))
    assert conversation.dropped_frames == 0
    [note] = conversation.events
    assert (note["kind"], note["detail"]) == ("moved", "draining")
    assert note["ms"] == browser.event("notice")["ms"]
    with capsys.disabled():
        print(f"moved in {note['ms']} ms")  # noqa: T201


async def test_a_draining_worker_that_dies_meanwhile_is_a_lost_one(
    browser, worker, other, the_conversation
):
    other.prime_seconds = 0.5
    await browser.start()
    await browser.converse(5)
    await worker.drain()
    await until(lambda: other.opened)
    worker.kill()
    await browser.until_state("recovering")
    await browser.until_state("live")
    await browser.converse(5, first=5)
    assert memory(other) == list(range(10))
    await browser.leave()
    await other.until_free()


async def test_nothing_is_left_of_a_move_that_the_user_did_not_wait_for(
    browser, worker, other, the_conversation
):
    other.prime_seconds = 0.3
    await browser.start()
    await browser.converse(5)
    await worker.drain()
    await until(lambda: other.opened)
    await browser.leave()
    await until(lambda: not (other.sessions or worker.sessions or shutdown._running))
    conversation, _ = await the_conversation()
    assert conversation.end_reason == "user_left"


async def test_the_packets_of_the_log_are_what_the_worker_heard(
    browser, worker, the_conversation
):
    await browser.start()
    await browser.converse(10)
    [session] = worker.sessions.values()
    heard = list(session.heard)
    await browser.leave()
    _, chunks = await the_conversation()
    decoder = Decoder()
    packets = [u for c in chunks for u in unpack_user_packets(bytes(c.user_packets))]
    decoded = [decoder.decode(user.packet) for user in packets]
    assert all(np.array_equal(a, b) for a, b in zip(heard, decoded, strict=True))
    assert len(np.concatenate([unpack_timings(bytes(c.timings)) for c in chunks])) == 10
