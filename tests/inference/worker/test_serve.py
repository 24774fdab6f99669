"""python -m inference as its own process, with the tiny model."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import wave

import numpy as np
import pytest

from inference.engine.api import Sampling
from inference.errors import WorkerLost, WorkerStopping
from inference.worker.client import WorkerSession, encode_voice
from inference.worker.fleet import SAME_SIGNAL_SECONDS
from inference.worker.protocol import Open

SECRET = "a shared secret"
START_SECONDS = 90


def command(*words):
    return [sys.executable, "-m", "inference", *words]


def environment(**changes):
    return {**os.environ, "OMP_NUM_THREADS": "1", "WORKER_SECRET": SECRET, **changes}


class Process:
    def __init__(self, folder, *words):
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command("serve", "--port", "0", "--slots", "2", "--force", *words),
                env=environment(),
                stderr=log,
            )

    def wait_until_ready(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"Ready on (ws://\S+):", self.log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def worker(tmp_path):
    process = Process(tmp_path)
    process.url = process.wait_until_ready()
    yield process
    process.end()


def sound(frames):
    noise = np.random.default_rng(7).integers(-8000, 8000, (frames, 1920))
    return noise.astype(np.int16)


async def say(url, name, frames, role_prompt):
    """The tokens a persona answers to these frames, one at a time."""
    sampling = Sampling(seed=len(role_prompt))
    opened = Open(name, role_prompt=role_prompt, sampling=sampling)
    tokens = []
    async with await WorkerSession.connect(url, SECRET, opened) as session:
        assert session.ready.model == "tiny" and session.ready.prompt_frames > 0
        for number, pcm in enumerate(frames):
            session.push(number, pcm)
            result = await anext(session)
            assert (result.frame, result.seq, result.dropped) == (number, number, 0)
            tokens.append(result.tokens.tolist())
    return tokens


async def test_two_conversations_at_once_say_the_same_as_alone(worker):
    people = [("one", "You are Ada."), ("two", "You sell tea and talk fast.")]
    alone = [await say(worker.url, n, sound(12), prompt) for n, prompt in people]
    together = await asyncio.gather(
        *(say(worker.url, n, sound(12), prompt) for n, prompt in people)
    )
    assert together == alone and alone[0] != alone[1]
    assert "[one] opened" in worker.log.read_text()


async def test_a_voice_encoded_by_the_worker_is_spoken_with(worker):
    pcm = np.sin(np.arange(24_000 * 3) / 30).astype(np.float32) / 4
    prompt = await asyncio.to_thread(encode_voice, worker.url, SECRET, pcm)
    opened = Open("voiced", voice=hashlib.sha256(prompt).hexdigest())
    async with await WorkerSession.connect(worker.url, SECRET, opened, prompt) as talk:
        assert talk.ready.prompt_frames > 38  # three seconds of voice
        talk.push(0, sound(1)[0])
        assert (await anext(talk)).frame == 0


async def test_sigterm_drains_and_a_second_one_ends_it_within_seconds(worker):
    session = await WorkerSession.connect(worker.url, SECRET, Open("one"))
    worker.process.send_signal(signal.SIGTERM)
    ending = asyncio.create_task(anext(session))
    await asyncio.wait_for(session.on_draining.wait(), 5)
    assert session.drain_seconds == 20
    session.push(0, sound(1)[0])
    assert (await ending).frame == 0  # it continues
    worker.process.send_signal(signal.SIGTERM)  # as part of the first
    await asyncio.sleep(SAME_SIGNAL_SECONDS + 0.1)
    session.push(1, sound(1)[0])
    assert (await anext(session)).frame == 1
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    with pytest.raises(WorkerStopping):
        await anext(session)
    assert await asyncio.to_thread(worker.process.wait, 10) == 0
    assert time.monotonic() - began < 10


async def test_a_killed_worker_is_lost(worker):
    session = await WorkerSession.connect(worker.url, SECRET, Open("one"))
    worker.process.kill()
    with pytest.raises(WorkerLost):
        await anext(session)


def run(*words, **changes):
    return subprocess.run(
        command(*words),
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )


def test_it_does_not_start_without_a_secret():
    found = run("serve", WORKER_SECRET="")
    assert found.returncode == 2 and "Set WORKER_SECRET" in found.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "whole number from 0 to 65535"),
        (["--slots", "many"], "whole number"),
        (["--heartbeat-seconds", "0"], "0.5 to 3600 seconds"),
    ],
)
def test_wrong_options_are_refused(words, said):
    found = run("serve", *words)
    assert found.returncode == 2 and said in found.stderr


def test_a_wrong_variable_is_refused_like_a_wrong_option():
    found = run("serve", WORKER_PORT="eighty")
    assert found.returncode == 2 and "--port" in found.stderr


def test_a_model_that_is_not_there_ends_it_with_a_clear_line():
    found = run("serve", "--port", "0", "--model", "huge")
    assert found.returncode == 1 and "huge is no directory" in found.stderr


def test_a_device_that_is_not_there_ends_it_with_a_clear_line():
    found = run("serve", "--port", "0", "--device", "cuda:99")
    assert found.returncode == 1 and "cuda:99" in found.stderr


def test_a_taken_port_ends_it_with_a_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = run("serve", "--port", str(port))
    assert found.returncode == 1 and f"Can't listen on 127.0.0.1:{port}" in found.stderr


def write_wav(path, rate=24_000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound(20).tobytes())


def test_encode_voice_reports_progress_and_the_fingerprint(tmp_path):
    write_wav(tmp_path / "in.wav")
    out = tmp_path / "out.pt"
    found = run("encode-voice", str(tmp_path / "in.wav"), "--out", str(out))
    assert found.returncode == 0, found.stderr
    *progress, last = map(json.loads, found.stdout.splitlines())
    shares = [line["progress"] for line in progress]
    assert shares == sorted(shares) and shares[-1] == 1
    assert re.fullmatch("[0-9a-f]{32,64}", last["fingerprint"])
    assert out.stat().st_size > 1000 and list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize("kind", ["rate", "pickle", "text", "absent", "nan"])
def test_encode_voice_refuses_what_is_no_prepared_recording(tmp_path, kind):
    source = tmp_path / {"rate": "in.wav", "pickle": "in.npy"}.get(kind, "in.f32")
    match kind:
        case "rate":
            write_wav(source, rate=48_000)
        case "pickle":
            np.save(source, np.array([{}]), allow_pickle=True)
        case "text":
            source.write_bytes(b"")
        case "nan":
            source.write_bytes(np.full(9999, np.nan, "<f4").tobytes())
    found = run("encode-voice", str(source), "--out", str(tmp_path / "out.pt"))
    assert found.returncode == 1 and "24 kHz mono" in found.stderr
    assert "Traceback" not in found.stderr and not (tmp_path / "out.pt").exists()
