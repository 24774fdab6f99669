"""Sessions that begin with a log: rebuilt, moved in two phases, restarted, drained."""

import asyncio
import hashlib

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from inference.engine.api import FrameLog
from inference.errors import (
    ModelError,
    NoSession,
    ProtocolError,
    RolePromptError,
    TakenOver,
    WorkerBusy,
    WorkerLost,
    WorkerStopping,
)
from inference.worker import blobs, protocol, server, session_socket
from inference.worker.options import WorkerOptions
from inference.worker.protocol import Draining, More, Open, Park
from tests.inference.echo_engine import BAD_TOKEN, EchoEngine, frame_of
from tests.inference.worker.conftest import SECRET, running
from tests.inference.worker.talking import (
    attach,
    collect,
    failure_of,
    prepare,
    said,
    say,
    talk,
)

PROMPT = b"a voice prompt" * 10
SLOW = Open("one", role_prompt="x" * 900)  # to prime
DIGEST = hashlib.sha256(PROMPT).hexdigest()


async def test_a_session_continues_after_its_log(rig):
    """Larger than one message, and the voice prompt is asked for in between."""
    log = said(0, 1200)
    assert log.user_pcm.nbytes > protocol.MAX_MESSAGE
    async with await talk(rig, prompt=PROMPT, voice=DIGEST, log=log) as moved:
        assert moved.ready.frame == 1200
        assert moved.ready.context_frames == 2990 - 1200
        (result,) = await say(moved, 7)
        assert (result.frame, result.pcm[0], result.piece) == (1200, 1199, " 1201")


async def test_a_full_worker_refuses_before_the_log_has_come(monkeypatch):
    monkeypatch.setattr(server, "CLOSE_SECONDS", 0.1)  # it never reads the rest
    async with running(EchoEngine(slots=1)) as rig, await talk(rig, "1"):
        with pytest.raises(WorkerBusy):
            await talk(rig, "2", log=said(0, 2000))


async def test_a_place_that_was_promised_is_not_given_to_another():
    async with running(EchoEngine(slots=1)) as rig, rig.socket() as socket:
        await socket.send(protocol.dump(Open("one", log_frames=1)))
        await asyncio.sleep(0.05)
        with pytest.raises(WorkerBusy):
            await talk(rig, "two")
        await socket.send(next(iter(protocol.encode_log(said(0, 1))))[: 1 + 34])
        assert protocol.parse(await socket.recv()).frame == 1


HOSTILE = {
    "longer than announced": [Open("x", log_frames=1), b"\x05" + bytes(35)],
    "longer in pieces": [Open("x", log_frames=1), b"\x05" + bytes(30), b"\x05" * 6],
    "an empty piece": [Open("x", log_frames=1), b"\x05"],
    "an empty message": [Open("x", log_frames=1), b""],
    "a huge piece": [
        Open("x", log_frames=180_000),
        b"\x05" + bytes(protocol.MAX_MESSAGE),
    ],
    "another kind": [Open("x", log_frames=1), b"\x04" + bytes(34)],
    "a voice that was not asked for": [Open("x", log_frames=1), b"\x03" + bytes(34)],
    "a frame": [
        Open("x", log_frames=1),
        protocol.UserFrame(0, frame_of(0)).encode(),
    ],
    "JSON": [Open("x", log_frames=1), Park()],
    "of another model": [
        Open("x", log_frames=1),
        b"\x05" + np.full(17, BAD_TOKEN, "<u2").tobytes(),
    ],
    "a log without an Open": [b"\x05" + bytes(34)],
    "more where none was announced": [Open("x"), None, More()],
    "a frame while it is held": [
        Open("x", more=True),
        None,
        protocol.UserFrame(0, frame_of(0)).encode(),
    ],
    "more and a longer log": [
        Open("x", more=True),
        None,
        More(1, 1),
        b"\x05" + bytes(34 + 3841),
    ],
    "restarted as another": [Open("x"), None, Open("y")],
    "restarted by a stranger": [Open("x"), None, Open("x", version=1)],
}


@pytest.mark.parametrize("messages", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_log_ends_that_socket_only(rig, messages):
    async with await talk(rig, "other") as other, rig.socket() as socket:
        for message in messages:
            match message:
                case None:
                    await socket.recv()
                case bytes():
                    await socket.send(message)
                case _:
                    await socket.send(protocol.dump(message))
        assert (await failure_of(socket)).code == "protocol"
        await rig.until(lambda: rig.server.thread.stats().sessions == 1)
        assert (await say(other, 0))[0].seq == 0


async def test_a_log_that_never_comes_gives_its_place_back(monkeypatch):
    monkeypatch.setattr(blobs, "BLOB_SECONDS", 0.1)
    async with running(EchoEngine(slots=1)) as rig, rig.socket() as socket:
        await socket.send(protocol.dump(Open("one", log_frames=2)))
        await socket.send(b"\x05" + bytes(34))
        assert "the log did not come" in (await failure_of(socket)).detail
        async with await talk(rig, "two"):
            pass


async def test_a_socket_lost_in_the_middle_of_a_log_gives_its_place_back():
    async with running(EchoEngine(slots=1)) as rig:
        async with rig.socket() as socket:
            await socket.send(protocol.dump(Open("one", log_frames=2, keep_s=30)))
            await asyncio.sleep(0.05)
            socket.transport.abort()
        await asyncio.sleep(0.05)
        async with await talk(rig, "two"):
            pass


async def test_a_session_moves_in_two_phases_and_nothing_is_missed():
    """While it talks: the new worker learns what the old one says meanwhile."""
    async with running(queue_frames=50) as old, running() as new:
        here = await talk(old, keep_s=30)
        await say(here, 0, 20)
        await say(here, 20, 20)
        there = await prepare(new, log=said(0, 40))
        assert there.frame == 40
        await say(here, 40, 5)
        assert await there.catch_up(said(40, 5)) == 45
        await say(here, 45, 1)
        with pytest.raises(NoSession):
            await attach(new)  # it can't be attached to yet
        moved = await there.go(said(45, 1))
        await here.close()
        await old.until_free()
        (result,) = await say(moved, 46)
        assert (moved.ready.frame, result.frame, result.pcm[0]) == (46, 46, 45)
        assert new.server.thread.stats().sessions == 1
        await moved.close()
        await new.until_free()


async def test_a_prepared_session_without_a_past_goes_with_nothing_said(rig):
    there = await prepare(rig)
    assert there.frame == 0
    async with await there.go(said(0, 0)) as session:
        assert (await say(session, 0))[0].frame == 0


async def test_a_prepared_session_is_let_go_of(rig, monkeypatch):
    there = await prepare(rig, keep_s=30)
    assert rig.server.thread.stats().sessions == 1
    await there.close()
    await rig.until_free()
    there = await prepare(rig, keep_s=30)
    there._session._socket.transport.abort()
    await rig.until_free()
    assert rig.server.status.statistics()["parked"] == 0
    monkeypatch.setattr(session_socket, "MORE_SECONDS", 0.1)
    there = await prepare(rig)
    await rig.until_free()
    with pytest.raises(ProtocolError, match="no More for"):
        await there.go(said(0, 0))


async def test_what_was_said_since_has_to_have_its_sound(rig):
    there = await prepare(rig)
    with pytest.raises(ProtocolError):
        await there.catch_up(FrameLog(said(0, 3).tokens, said(0, 2).user_pcm))
    await rig.until_free()


async def test_a_live_session_restarts_in_its_own_slot():
    async with running(EchoEngine(slots=1), queue_frames=50) as rig:
        talking = await talk(rig, keep_s=30)
        await say(talking, 0, 9)
        heard = []

        async def listen():
            async for result in talking:
                heard.append(result)

        listening = asyncio.create_task(listen())
        for number in range(30):
            talking.push(number, frame_of(number))  # waits for the restart
        beginning = asyncio.create_task(
            talking.restart(Open("one", role_prompt="x" * 200), log=said(0, 4))
        )
        await asyncio.sleep(0)
        with pytest.raises(WorkerBusy):
            await talk(rig, "two")
        await beginning
        assert talking.ready.frame == 4 and talking.dropped >= 5
        before = len(heard)
        for number in (70, 71):
            talking.push(number, frame_of(number))
        await rig.until(lambda: len(heard) == before + 2)
        assert [(r.frame, r.seq, r.pcm[0]) for r in heard[before:]] == [
            (4, 70, 3),
            (5, 71, 70),
        ]
        with pytest.raises(TakenOver):
            async with await attach(rig, have=0) as other:
                again = await collect(other, 2)  # nothing of the old session
                await listening
        assert [(r.frame, r.seq) for r in again] == [(4, 70), (5, 71)]
        await rig.until_free()


async def test_a_result_that_is_on_its_way_when_it_restarts_is_not_sent(rig):
    talking = await talk(rig)
    (result,) = await say(talking, 0)
    old = rig.server.sessions._sessions["one"]._listener
    reading = asyncio.create_task(collect(talking, 1))
    await talking.restart(Open("one"))
    for _ in range(3):
        old.frame(result)
    old.failed(ModelError("of the past"))
    talking.push(50, frame_of(50))
    assert [(r.frame, r.seq) for r in await reading] == [(0, 50)]
    await talking.close()


async def test_a_frame_before_it_has_restarted_is_refused():
    async with running(EchoEngine(chunk_seconds=0.05)) as rig, rig.socket() as socket:
        await socket.send(protocol.dump(Open("one")))
        await socket.recv()
        await socket.send(protocol.dump(SLOW))
        await socket.send(protocol.UserFrame(0, frame_of(0)).encode())
        assert (await failure_of(socket)).detail == "a frame before Ready"


async def test_frames_pushed_while_it_restarts_wait():
    async with running(EchoEngine(chunk_seconds=0.02)) as rig:
        talking = await talk(rig)
        reading = asyncio.create_task(collect(talking, 3))
        again = Open("one", role_prompt="x" * 50)
        beginning = asyncio.create_task(talking.restart(again))
        await asyncio.sleep(0)
        for number in range(3):
            talking.push(number, frame_of(number))
            await asyncio.sleep(0.01)
        await beginning
        assert [(r.frame, r.seq) for r in await reading] == [(0, 0), (1, 1), (2, 2)]
        await talking.close()


async def test_a_session_that_cannot_restart_ends(rig):
    talking = await talk(rig, keep_s=30)
    reading = asyncio.create_task(collect(talking, 1))
    with pytest.raises(RolePromptError):
        await talking.restart(Open("one", role_prompt="x" * 2000))
    with pytest.raises(RolePromptError):
        await reading
    await rig.until_free()


async def test_a_restart_that_is_never_answered_is_given_up():
    async with running(EchoEngine(chunk_seconds=0.05)) as rig:
        talking = await talk(rig)
        reading = asyncio.create_task(collect(talking, 1))
        with pytest.raises(WorkerLost, match="not ready within"):
            await talking.restart(SLOW, timeout=0.1)
        with pytest.raises(WorkerLost):
            await reading
        await rig.until_free()


async def test_a_session_closed_while_it_restarts_is_not_waited_for():
    async with running(EchoEngine(chunk_seconds=0.05)) as rig:
        talking = await talk(rig)
        reading = asyncio.create_task(collect(talking, 1))
        beginning = asyncio.create_task(talking.restart(SLOW))
        await asyncio.sleep(0.05)
        await talking.close()
        with pytest.raises(WorkerLost):
            await beginning
        assert await reading == []


# Draining.


def draining(seconds=30.0):
    return running(options=WorkerOptions(secret=SECRET, drain_seconds=seconds))


async def test_a_draining_worker_has_its_sessions_moved_and_ends():
    async with draining() as old, running() as new:
        here = await talk(old, keep_s=30)
        await (await talk(old, "parked", keep_s=30)).park()
        await say(here, 0, 3)
        old.server.drain()
        beat = old.server.status.heartbeat()
        assert not here.on_draining.is_set()
        await say(here, 3, 1)
        assert here.on_draining.is_set() and here.drain_seconds == 30
        beat = old.server.status.heartbeat()
        assert (beat.ready, beat.draining, beat.sessions) == (False, True, 1)
        for refused in (talk(old, "new"), attach(old, "parked"), attach(old)):
            with pytest.raises(WorkerStopping):
                await refused
        async with await talk(new, log=said(0, 4)) as moved:
            await here.close()
            assert await asyncio.wait_for(old.task, 5) == 0
            assert (await say(moved, 4))[0].frame == 4


async def test_a_session_that_was_not_moved_ends_when_the_time_is_over():
    async with draining(0.2) as rig:
        talking = await talk(rig, keep_s=30)
        rig.server.drain()
        with pytest.raises(WorkerStopping):
            await collect(talking, 1)
        assert talking.on_draining.is_set()
        assert await asyncio.wait_for(rig.task, 5) == 0


async def test_an_idle_worker_drains_at_once():
    async with draining() as rig:
        began = asyncio.get_running_loop().time()
        rig.server.drain()
        assert await asyncio.wait_for(rig.task, 5) == 0
        assert asyncio.get_running_loop().time() - began < 2


async def test_a_session_lost_while_it_drains_is_not_kept():
    async with draining() as rig:
        talking = await talk(rig, keep_s=30)
        rig.server.drain()
        await asyncio.sleep(0.05)
        talking._socket.transport.abort()
        assert await asyncio.wait_for(rig.task, 5) == 0


async def test_what_is_only_prepared_goes_elsewhere_when_it_drains():
    async with draining() as rig:
        there = await prepare(rig, log=said(0, 3))
        rig.server.drain()
        with pytest.raises(WorkerStopping):
            await there.go(said(3, 1))
        assert await asyncio.wait_for(rig.task, 5) == 0


async def test_it_drains_until_its_voices_are_encoded():
    engine = EchoEngine(chunk_seconds=0.03)
    async with running(engine) as rig, rig.socket("/voices") as socket:
        await socket.send(protocol.dump(protocol.EncodeVoice(100)))
        await socket.send(b"\x04" + bytes(400))
        await socket.recv()  # how far it is
        rig.server.drain()
        with pytest.raises(ConnectionClosed):
            while True:
                last = await socket.recv()
        assert isinstance(last, bytes) and last[0] == protocol.VOICE_PROMPT


async def test_a_session_still_priming_is_moved_when_it_is_ready():
    async with running(EchoEngine(chunk_seconds=0.02)) as rig, rig.socket() as socket:
        await socket.send(protocol.dump(Open("one", role_prompt="x" * 100)))
        await rig.until(lambda: len(rig.server.sessions))
        rig.server.drain()
        assert isinstance(protocol.parse(await socket.recv()), Draining)
        assert isinstance(protocol.parse(await socket.recv()), protocol.Ready)
