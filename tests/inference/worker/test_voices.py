import asyncio
import hashlib

import numpy as np
import pytest

from inference.errors import (
    NoWorker,
    ProtocolError,
    VoicePromptError,
    WorkerLost,
)
from inference.worker import protocol, voice_job
from inference.worker.client import encode_voice
from inference.worker.protocol import EncodeVoice
from inference.worker.voices import VoiceCache
from tests.inference.echo_engine import EchoEngine
from tests.inference.worker.conftest import SECRET, running
from tests.inference.worker.test_session import failure_of


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_the_cache_forgets_the_least_recently_used_beyond_its_bytes():
    cache = VoiceCache(limit_bytes=250)
    one, two, three = (bytes([n]) * 100 for n in range(3))
    cache.add(digest(one), one)
    cache.add(digest(two), two)
    assert cache.get(digest(one)) == one
    cache.add(digest(three), three)
    assert cache.get(digest(two)) is None and cache.get(digest(one)) == one
    assert cache.bytes == 200


def test_the_cache_keeps_nothing_larger_than_itself():
    cache = VoiceCache(limit_bytes=50)
    cache.add(digest(bytes(100)), bytes(100))
    assert cache.bytes == 0 and len(cache) == 0


def test_the_cache_refuses_what_is_not_what_it_says():
    with pytest.raises(VoicePromptError):
        VoiceCache(1000).add("0" * 64, b"something else")


async def encoded(rig, pcm, **options):
    return await asyncio.to_thread(encode_voice, rig.url, SECRET, pcm, **options)


async def test_a_voice_is_encoded_with_progress(rig):
    pcm = np.random.default_rng(1).normal(size=2_000_000).astype(np.float32)
    reports = []
    prompt = await encoded(rig, pcm, progress=reports.append, fingerprint="f" * 64)
    assert prompt == b"voice of " + hashlib.sha256(pcm.tobytes()).digest()
    assert reports == sorted(reports) and len(reports) > 3


async def test_a_voice_for_another_model_is_refused(rig):
    with pytest.raises(VoicePromptError, match="wanted for model 0000"):
        await encoded(rig, np.zeros(100, np.float32), fingerprint="0" * 64)


@pytest.mark.parametrize("samples", [0, protocol.MAX_VOICE_SAMPLES + 1])
async def test_a_voice_of_no_sensible_length_is_refused(rig, samples):
    with pytest.raises(VoicePromptError):
        await encoded(rig, np.zeros(samples, np.float32))


async def test_samples_that_are_no_numbers_are_refused(rig):
    with pytest.raises(ProtocolError):
        await encoded(rig, np.full(100, np.nan, np.float32))


async def test_more_samples_than_announced_are_refused(rig):
    async with rig.socket("/voices") as socket:
        await socket.send(protocol.dump(EncodeVoice(10)))
        await socket.send(protocol.encode_blob(protocol.VOICE_PCM, bytes(44)))
        assert (await failure_of(socket)).code == "protocol"


@pytest.mark.parametrize("message", ["{}", "garbage", b"\x04", b""])
async def test_rubbish_is_refused(rig, message):
    async with rig.socket("/voices") as socket:
        await socket.send(message)
        assert (await failure_of(socket)).code == "protocol"


async def test_a_recording_that_never_comes_is_given_up(rig, monkeypatch):
    monkeypatch.setattr(voice_job, "RECEIVE_SECONDS", 0.1)
    async with rig.socket("/voices") as socket:
        await socket.send(protocol.dump(EncodeVoice(10)))
        assert "nothing came" in (await failure_of(socket)).detail


async def test_a_caller_that_stops_gives_the_job_up():
    async with running(EchoEngine(chunk_seconds=0.1)) as rig:

        def stop(done):
            raise KeyError("cancelled by the user")

        with pytest.raises(KeyError):
            await encoded(rig, np.zeros(100, np.float32), progress=stop)
        jobs = rig.server.thread._schedule._voices
        await rig.until(lambda: not jobs, seconds=1)


async def test_a_worker_that_dies_while_encoding_is_lost():
    async with running(EchoEngine(chunk_seconds=0.3)) as rig:
        encoding = asyncio.create_task(encoded(rig, np.zeros(100, np.float32)))
        await rig.until(lambda: rig.server._server.connections)
        await asyncio.sleep(0.1)
        for connection in rig.server._server.connections:
            connection.transport.abort()
        with pytest.raises(WorkerLost):
            await encoding


async def test_a_silent_worker_is_lost():
    async with running(EchoEngine(chunk_seconds=1)) as rig:
        with pytest.raises(WorkerLost, match="silent"):
            await encoded(rig, np.zeros(100, np.float32), timeout=0.2)


def test_an_absent_worker_is_no_worker():
    with pytest.raises(NoWorker):
        encode_voice("ws://127.0.0.1:1", SECRET, np.zeros(100, np.float32))
