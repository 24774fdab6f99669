"""A session over real sockets, from Open to the slot being free again."""

import asyncio
import hashlib
import json
import math

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from inference.engine.api import Sampling
from inference.errors import (
    ModelError,
    NoWorker,
    ProtocolError,
    RolePromptError,
    VoicePromptError,
    WorkerBusy,
    WorkerLost,
)
from inference.timing import FRAME_SECONDS
from inference.worker import blobs, outbox, protocol, session_socket
from inference.worker.client import WorkerSession
from inference.worker.protocol import End, Open, UserFrame
from inference.worker.server import GPU_LOST
from tests.inference.echo_engine import (
    BAD_VOICE,
    BREAKS_THE_DEVICE,
    BREAKS_THE_STEP,
    EchoEngine,
    frame_of,
)
from tests.inference.worker.conftest import SECRET, running
from tests.inference.worker.talking import collect, failure_of, talk


async def test_frames_come_back_in_order_with_their_record(rig):
    async with await talk(rig) as session:
        assert session.ready.model == "echo" and session.ready.trained is False
        assert session.ready.prompt_frames == 10
        for number in range(5):
            session.push(number + 50, frame_of(number))
        results = await collect(session, 5)
    assert [r.frame for r in results] == [0, 1, 2, 3, 4]
    assert [r.seq for r in results] == [50, 51, 52, 53, 54]
    assert [int(r.pcm[0]) for r in results] == [0, 0, 1, 2, 3]
    assert results[0].piece == " 1" and results[0].tokens.shape == (17,)
    await rig.until_free()


async def test_four_sessions_at_real_pace_lose_nothing():
    async def person(rig, name, offset):
        async with await talk(rig, name) as session:
            reader = asyncio.create_task(collect(session, 25))
            loop = asyncio.get_running_loop()
            begin = loop.time()
            for number in range(25):
                session.push(number, frame_of(offset + number))
                await asyncio.sleep(begin + (number + 1) * FRAME_SECONDS - loop.time())
            results = await asyncio.wait_for(reader, 5)
            assert session.dropped == 0
        assert [r.seq for r in results] == list(range(25))
        expected = [0, *range(offset, offset + 24)]
        assert [int(r.pcm[7]) for r in results] == expected
        assert sum(r.dropped for r in results) == 0

    async with running(EchoEngine(slots=4, tick_seconds=0.005)) as rig:
        people = [person(rig, str(n), 1000 * n) for n in range(1, 5)]
        await asyncio.gather(*people)
        await rig.until_free()


async def test_a_full_worker_says_busy(rig):
    async with await talk(rig, "1"), await talk(rig, "2"):
        with pytest.raises(WorkerBusy) as caught:
            await talk(rig, "3")
        assert caught.value.retryable
        assert rig.server.admission.refused == 1
    await rig.until_free()
    async with await talk(rig, "4"):
        pass


async def test_busy_is_said_before_the_voice_is_asked_for():
    async with running(EchoEngine(slots=1)) as rig, await talk(rig):
        asked = []

        async def voice():
            asked.append(1)
            return b"prompt"

        digest = hashlib.sha256(b"prompt").hexdigest()
        with pytest.raises(WorkerBusy):
            await talk(rig, "2", voice, voice=digest)
        assert not asked


async def test_a_lost_socket_frees_its_slot_at_once(rig):
    session = await talk(rig)
    assert rig.server.thread.stats().sessions == 1
    session._socket.transport.abort()
    await rig.until(lambda: rig.server.thread.stats().sessions == 0, seconds=1)
    await session.close()


async def test_a_socket_lost_while_priming_frees_its_slot():
    async with running(EchoEngine(slots=1, chunk_seconds=0.05)) as rig:
        connecting = asyncio.create_task(talk(rig, role_prompt="x" * 900))
        await rig.until(lambda: rig.server.thread.stats().sessions == 1)
        connecting.cancel()
        await rig.until(lambda: rig.server.thread.stats().sessions == 0, seconds=1)


async def test_end_frees_the_slot_and_closes_normally(rig):
    async with rig.socket() as socket:
        await socket.send(protocol.dump(Open("one")))
        await socket.recv()
        await socket.send(protocol.dump(End()))
        await socket.wait_closed()
        assert socket.close_code == 1000
    await rig.until_free()


async def test_a_wrong_secret_is_refused(rig):
    with pytest.raises(NoWorker, match="401"):
        await WorkerSession.connect(rig.url, "wrong", Open("one"))


async def test_a_worker_that_is_not_there_is_no_worker():
    with pytest.raises(NoWorker):
        await WorkerSession.connect("ws://127.0.0.1:1", SECRET, Open("one"))


MALFORMED = {
    "garbage": "}{",
    "no type": json.dumps({"conversation": "x"}),
    "unknown type": json.dumps({"type": "shout"}),
    "a list": "[1]",
    "unknown field": json.dumps({"type": "open", "conversation": "x", "more": 1}),
    "missing field": json.dumps({"type": "open"}),
    "wrong type": json.dumps({"type": "open", "conversation": 1}),
    "too early": protocol.dump(End()),
    "binary": b"\x01\x00",
    "too long": json.dumps({"type": "open", "conversation": "x" * 70_000}),
    "wrong version": json.dumps({"type": "open", "conversation": "x", "version": 9}),
    "no number": protocol.dump(Open("x", sampling=Sampling(temperature_text=math.nan))),
    "negative": protocol.dump(Open("x", sampling=Sampling(top_k_text=-1))),
    "deep": "[" * 50_000,
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_open_is_refused_with_the_reason(rig, message):
    async with await talk(rig, "other") as other, rig.socket() as socket:
        await socket.send(message)
        failed = await failure_of(socket)
        assert failed.code == "protocol" and failed.detail and not failed.retryable
        assert socket.close_code == 1008
        other.push(0, frame_of(5))
        assert (await collect(other, 1))[0].seq == 0


async def test_a_frame_before_ready_is_refused():
    async with running(EchoEngine(chunk_seconds=0.1)) as rig, rig.socket() as socket:
        await socket.send(protocol.dump(Open("one", role_prompt="x" * 500)))
        await socket.send(UserFrame(0, frame_of(0)).encode())
        assert (await failure_of(socket)).detail == "a frame before Ready"
        await rig.until_free()


@pytest.mark.parametrize(
    "message",
    [
        protocol.dump(Open("again")),
        "garbage",
        b"",
        b"\x01\x00\x00",
        UserFrame(0, frame_of(0)).encode() + b"\0",
        b"\x09" + bytes(3847),
    ],
)
async def test_rubbish_in_mid_session_ends_that_session_only(rig, message):
    async with await talk(rig, "other") as other, rig.socket() as socket:
        await socket.send(protocol.dump(Open("one")))
        await socket.recv()
        await socket.send(message)
        assert (await failure_of(socket)).code == "protocol"
        await rig.until(lambda: rig.server.thread.stats().sessions == 1)
        other.push(0, frame_of(5))
        assert (await collect(other, 1))[0].seq == 0


async def test_an_oversized_message_closes_the_socket(rig):
    async with rig.socket() as socket:
        await socket.send(protocol.dump(Open("one")))
        await socket.recv()
        # The head of a masked binary frame alone says that it is too large.
        length = (protocol.MAX_VOICE + 2).to_bytes(8, "big")
        socket.transport.write(b"\x82\xff" + length + bytes(4))
        await socket.wait_closed()
        assert socket.close_code == 1009
    await rig.until_free()


async def test_an_open_that_never_comes_is_given_up(rig, monkeypatch):
    monkeypatch.setattr(session_socket, "OPEN_SECONDS", 0.1)
    async with rig.socket() as socket:
        assert "Open did not come" in (await failure_of(socket)).detail


async def test_a_session_without_frames_is_ended(rig, monkeypatch):
    monkeypatch.setattr(session_socket, "IDLE_SECONDS", 0.2)
    talking = await talk(rig)
    with pytest.raises(ProtocolError, match="no frame for"):
        await collect(talking, 1)
    await rig.until_free()


async def test_a_role_prompt_that_is_too_long_is_refused(rig):
    with pytest.raises(RolePromptError):
        await talk(rig, role_prompt="x" * 2000)
    await rig.until_free()


async def test_a_failing_step_ends_the_session_with_its_error(rig):
    talking = await talk(rig)
    talking.push(0, frame_of(BREAKS_THE_STEP))
    with pytest.raises(ModelError, match="a row went wrong"):
        await collect(talking, 1)
    await rig.until_free()


async def test_a_broken_device_fails_all_sessions_and_the_process(rig, caplog):
    one, two = await talk(rig, "1"), await talk(rig, "2")
    one.push(0, frame_of(BREAKS_THE_DEVICE))
    for talking in (one, two):
        with pytest.raises(ModelError):
            await collect(talking, 1)
    async with asyncio.timeout(10):
        assert await rig.task == GPU_LOST
    assert "ends with 71" in caplog.text and "nvidia-smi" in caplog.text


async def test_a_worker_that_dies_is_lost():
    async with running() as rig:
        talking = await talk(rig)
        for socket in rig.server._sockets:
            socket.connection.transport.abort()
        with pytest.raises(WorkerLost):
            await collect(talking, 1)


async def test_a_worker_that_is_never_ready_is_lost():
    async with running(EchoEngine(chunk_seconds=1)) as rig:
        with pytest.raises(WorkerLost, match="not ready within"):
            await WorkerSession.connect(rig.url, SECRET, Open("x"), timeout=0.2)
        await rig.until_free()


async def test_a_voice_prompt_is_asked_for_once(rig):
    prompt = b"a voice prompt" * 1000
    digest = hashlib.sha256(prompt).hexdigest()
    asked = []

    async def voice():
        asked.append(1)
        return prompt

    for name in "ab":
        async with await talk(rig, name, voice, voice=digest):
            pass
    assert len(asked) == 1 and rig.server.voices.bytes == len(prompt)


async def test_a_voice_prompt_that_is_not_what_it_should_be_is_refused(rig):
    with pytest.raises(VoicePromptError, match="came with digest"):
        await talk(rig, prompt=b"tampered", voice="0" * 64)
    assert rig.server.voices.bytes == 0


async def test_a_voice_prompt_that_the_engine_cannot_read_is_refused(rig):
    digest = hashlib.sha256(BAD_VOICE).hexdigest()
    with pytest.raises(VoicePromptError, match="unreadable"):
        await talk(rig, prompt=BAD_VOICE, voice=digest)
    await rig.until_free()


async def test_a_voice_prompt_that_is_too_large_is_not_sent(rig):
    with pytest.raises(VoicePromptError, match="bytes"):
        await talk(rig, prompt=bytes(protocol.MAX_VOICE + 1), voice="0" * 64)
    await rig.until_free()


async def test_a_voice_prompt_that_never_comes_is_given_up(rig, monkeypatch):
    monkeypatch.setattr(blobs, "BLOB_SECONDS", 0.1)
    async with rig.socket() as socket:
        await socket.send(protocol.dump(Open("one", voice="0" * 64)))
        failed = await failure_of(socket)
        assert "the voice prompt did not come" in failed.detail


async def test_a_slow_reader_is_cut_off_and_counted(monkeypatch):
    monkeypatch.setattr(outbox, "SEND_MESSAGES", 4)
    async with running(queue_frames=1000) as rig, await talk(rig, "other") as other:
        socket = await rig.socket(max_queue=1).__aenter__()
        await socket.send(protocol.dump(Open("slow")))
        await socket.recv()
        socket.transport.pause_reading()
        frame = UserFrame(0, frame_of(1)).encode()
        with pytest.raises(ConnectionClosed):
            while True:  # what is sent to the worker that cut it off tells
                await socket.send(frame)
                await asyncio.sleep(0)
        await rig.until(lambda: rig.server.status.slow_readers == 1)
        await rig.until(lambda: rig.server.thread.stats().sessions == 1)
        other.push(0, frame_of(5))
        assert (await collect(other, 1))[0].seq == 0


async def test_a_stall_is_repaid_then_dropped_beyond_the_bound():
    """Faster than real time, each frame as a message of its own; what was dropped is
    reported with the frame that follows, and the next ones come in time."""
    engine, clock = EchoEngine(tick_seconds=0.005), asyncio.get_running_loop().time
    async with running(engine, queue_frames=4) as rig, await talk(rig) as talking:
        engine.held.clear()
        for number in range(12):
            talking.push(number, frame_of(number))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        engine.held.set()
        began = clock()
        results = await collect(talking, 5)
        assert clock() - began < 4 * FRAME_SECONDS
        assert [r.seq for r in results] == [0, 8, 9, 10, 11]
        assert [r.dropped for r in results] == [0, 7, 0, 0, 0]
        assert [r.frame for r in results] == [0, 1, 2, 3, 4]
        assert all(r.late for r in results)
        assert all(r.pcm.shape == (1920,) for r in results)
        assert rig.server.thread.stats().dropped_frames == 7
        talking.push(12, frame_of(12))
        (after,) = await collect(talking, 1)
        assert not after.late and after.dropped == 0


async def test_push_never_waits_and_counts_what_it_drops(rig):
    async with await talk(rig) as talking:
        for number in range(40):  # the sender has no chance to run in between
            talking.push(number, frame_of(number))
        assert talking.dropped == 15
        results = await collect(talking, 1)
        assert results[0].seq >= 15


async def test_sound_arrives_unchanged(rig):
    noise = np.random.default_rng(1).integers(-32768, 32767, 1920).astype(np.int16)
    async with await talk(rig) as talking:
        talking.push(0, noise)
        talking.push(1, noise)
        results = await collect(talking, 2)
    assert (results[1].pcm == noise).all()
