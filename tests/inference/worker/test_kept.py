"""Sessions that outlive their socket."""

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed

from inference.errors import (
    NoSession,
    ProtocolError,
    RolePromptError,
    TakenOver,
    WorkerBusy,
    WorkerStopping,
)
from inference.worker import outbox, protocol, session, session_socket
from inference.worker.heartbeat import dump_heartbeat, parse_heartbeat
from inference.worker.options import WorkerOptions
from inference.worker.protocol import Attach, Park, UserFrame
from tests.inference.echo_engine import BREAKS_THE_STEP, EchoEngine, frame_of
from tests.inference.worker.conftest import SECRET, running
from tests.inference.worker.talking import attach, collect, failure_of, say, talk


def parked(rig):
    return rig.server.status.heartbeat().parked


async def lose(rig, talking):
    """Cut the socket without a word."""
    talking._socket.transport.abort()
    await rig.until(lambda: parked(rig) == 1)


async def test_a_lost_socket_parks_the_session_and_attach_resumes_it(rig):
    one = await talk(rig, keep_s=30)
    assert (one.ready.frame, one.ready.sound_frames) == (0, 20)
    await say(one, 0, 3)
    await lose(rig, one)
    stats = rig.server.status.statistics()
    assert (stats["sessions"], stats["parked"]) == (1, 1)  # a parked slot is taken
    async with await attach(rig, have=3, keep_s=30) as two:
        assert (two.ready.frame, two.ready.context_frames) == (3, 2990 - 3)
        assert two.ready.slot == one.ready.slot and parked(rig) == 0
        (result,) = await say(two, 7)
        assert (result.frame, result.seq, result.pcm[0]) == (3, 7, 2)
    await rig.until_free()
    assert rig.server.status.statistics()["resumed"] == 1
    await one.close()


async def test_frames_that_were_pushed_are_stepped_and_come_again(rig):
    one = await talk(rig, keep_s=30)
    await say(one, 0, 4)
    for number in range(4, 7):
        one.push(number, frame_of(number))
    await one.park()
    await rig.until(lambda: rig.server.thread.stats().frames == 7)
    async with await attach(rig, have=2) as two:
        assert two.ready.frame == 7
        again = await collect(two, 5)
    assert [(r.frame, r.seq, r.pcm[0]) for r in again] == [
        (n, n, n - 1) for n in range(2, 7)
    ]


async def test_only_the_newest_frames_come_again_each_as_one_message(monkeypatch, rig):
    monkeypatch.setattr(session, "REPLAY_FRAMES", 40)
    one = await talk(rig, keep_s=30)
    for first in range(0, 50, 5):
        await say(one, first, 5)
    await one.park()
    async with rig.socket() as socket:
        await socket.send(protocol.dump(Attach("one", 3)))
        ready = protocol.parse(await socket.recv())
        assert ready.frame == 50
        frames = [await socket.recv() for _ in range(40)]
    numbers = [protocol.decode_agent_frame(data).frame for data in frames]
    assert numbers == list(range(10, 50))
    assert outbox.SEND_MESSAGES < 40  # more than a slow reader may leave unread


async def test_a_session_that_is_not_to_be_kept_is_freed_at_once(rig):
    one = await talk(rig)
    await one.park()
    await rig.until_free()
    with pytest.raises(NoSession) as caught:
        await attach(rig)
    assert not caught.value.retryable


async def test_a_session_that_is_not_resumed_in_time_expires(rig):
    one = await talk(rig, keep_s=0.1)
    await lose(rig, one)
    await rig.until_free()
    with pytest.raises(NoSession):
        await attach(rig)
    assert (
        rig.server.status.statistics()["expired"] == 1 and len(rig.server.sessions) == 0
    )


async def test_the_operator_caps_how_long_a_session_is_kept():
    options = WorkerOptions(secret=SECRET, resume_seconds=0.1)
    async with running(options=options) as rig:
        await lose(rig, await talk(rig, keep_s=3000))
        await rig.until_free()


async def test_the_newest_socket_takes_the_session_over(rig):
    one = await talk(rig, keep_s=30)
    await say(one, 0, 2)
    async with await attach(rig, have=2) as two:
        with pytest.raises(TakenOver) as caught:
            await collect(one, 1)
        assert not caught.value.retryable
        one.push(99, frame_of(99))  # it has no listener any more
        assert (await say(two, 2))[0].pcm[0] == 1
        assert rig.server.status.statistics()["taken_over"] == 1
        assert rig.server.thread.stats().sessions == 1
    await rig.until_free()


async def test_a_frame_of_the_socket_that_lost_the_session_is_not_stepped(rig):
    """One that was received in the moment of the take-over."""
    one = await talk(rig, keep_s=30)
    (old,) = rig.server._sockets
    async with await attach(rig) as two:
        frame = UserFrame(99, frame_of(99)).encode()
        old._session.push(frame, old._attachment)
        (result,) = await say(two, 7)
        assert (result.frame, result.seq) == (0, 7)
    await one.close()


async def test_a_session_that_is_gone_on_with_does_not_expire(rig):
    one = await talk(rig, keep_s=0.1)
    await one.park()
    async with await attach(rig) as two:
        await asyncio.sleep(0.2)
        assert (await say(two, 0))[0].frame == 0


async def test_opening_a_conversation_again_frees_its_older_session():
    """With one slot: it must not be kept out by its own ghost."""
    async with running(EchoEngine(slots=1)) as rig:
        one = await talk(rig, keep_s=30)
        async with await talk(rig) as two:
            with pytest.raises(TakenOver):
                await collect(one, 1)
            assert (await say(two, 5))[0].frame == 0
        await rig.until_free()
        await lose(rig, await talk(rig, keep_s=30))
        async with await talk(rig) as four:
            assert (await say(four, 5))[0].frame == 0
            assert parked(rig) == 0


async def test_a_parked_session_keeps_others_out():
    async with running(EchoEngine(slots=1)) as rig:
        await (await talk(rig, keep_s=30)).park()
        with pytest.raises(WorkerBusy):
            await talk(rig, "two")
        async with await attach(rig):
            pass
        async with await talk(rig, "two"):
            pass


async def test_a_session_lost_while_it_is_primed_is_attached_all_the_same():
    async with running(EchoEngine(chunk_seconds=0.02)) as rig:
        async with rig.socket() as socket:
            opened = protocol.Open("one", role_prompt="x" * 100, keep_s=30)
            await socket.send(protocol.dump(opened))
            await rig.until(lambda: len(rig.server.sessions))
            socket.transport.abort()
        await rig.until(lambda: parked(rig) == 1)
        async with await attach(rig) as two:
            assert (await say(two, 0))[0].frame == 0


async def test_a_parked_session_that_fails_is_gone(rig, caplog):
    one = await talk(rig, keep_s=30)
    one.push(0, frame_of(BREAKS_THE_STEP))
    await one.park()
    await rig.until_free()
    with pytest.raises(NoSession):
        await attach(rig)
    assert "failed while parked" in caplog.text


async def test_a_slow_reader_finds_its_session_again(monkeypatch):
    monkeypatch.setattr(outbox, "SEND_MESSAGES", 4)
    async with running(queue_frames=1000) as rig:
        socket = await rig.socket(max_queue=1).__aenter__()
        await socket.send(protocol.dump(protocol.Open("one", keep_s=30)))
        await socket.recv()
        socket.transport.pause_reading()
        frame = UserFrame(0, frame_of(1)).encode()
        while not rig.server.status.slow_readers:
            try:
                await socket.send(frame)
            except ConnectionClosed:
                break
            await asyncio.sleep(0)
        await rig.until(lambda: parked(rig) == 1)
        async with await attach(rig) as two:
            assert two.ready.frame > 4


async def test_an_error_of_the_site_is_not_parked(rig):
    async with rig.socket() as socket:
        await socket.send(protocol.dump(protocol.Open("one", keep_s=30)))
        await socket.recv()
        await socket.send("rubbish")
        assert (await failure_of(socket)).code == "protocol"
    await rig.until_free()


async def test_a_refused_session_is_not_kept(rig):
    with pytest.raises(RolePromptError):
        await talk(rig, role_prompt="x" * 2000, keep_s=30)
    await rig.until_free()
    assert len(rig.server.sessions) == 0


async def test_a_stopped_worker_keeps_no_session(rig):
    await lose(rig, await talk(rig, keep_s=30))
    two = await talk(rig, "two", keep_s=30)
    assert await rig.stop() == 0
    assert len(rig.server.sessions) == 0
    with pytest.raises(WorkerStopping):
        await collect(two, 1)


@pytest.mark.parametrize(
    "message",
    [Attach("one", version=1), Park(), Attach("x" * 60_000)],
    ids=["old", "park", "long"],
)
async def test_an_attach_that_makes_no_sense_is_refused(rig, message):
    async with rig.socket() as socket:
        await socket.send(protocol.dump(message))
        failed = await failure_of(socket)
    assert failed.code in ("protocol", "no_session") and len(failed.detail) < 200


async def test_an_attached_session_still_needs_frames(rig, monkeypatch):
    await (await talk(rig, keep_s=30)).park()
    monkeypatch.setattr(session_socket, "IDLE_SECONDS", 0.1)
    two = await attach(rig)
    with pytest.raises(ProtocolError, match="no frame for"):
        await collect(two, 1)
    await rig.until_free()


async def test_the_heartbeat_counts_the_parked(rig):
    await lose(rig, await talk(rig, keep_s=30))
    beat = rig.server.status.heartbeat()
    assert (beat.sessions, beat.parked, beat.draining) == (1, 1, False)
    assert parse_heartbeat(dump_heartbeat(beat)) == beat
