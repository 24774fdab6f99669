"""``serve`` and ``talk`` as a person with a GPU runs them: the same answer by both, and
how far it is from the CPU's.

    python3 -m tests.inference.parity.on_gpu_serving --input SPEECH.wav [--model tiny]
        [--device cuda] [--runs talk,talk:int8/int8,serve:int8/int8] [--out FILE.json]

A run is a command with the weights and KV formats it is given, none for its default.
Everyone is greedy. ``serve`` holds three sessions at once through the worker's own
protocol, the first of which is the one that ``talk`` has.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.engine.api import Sampling
from inference.loading.checkpoint import model_folder
from inference.prompts.preset_voices import preset_voice
from inference.timing import FRAME_SAMPLES
from inference.worker.client import WorkerSession
from inference.worker.protocol import Open
from inference.worker.voice_client import encode_voice

SECRET = "a shared secret"
ROLE = "You are Nora, a friendly person who likes to talk."
OTHERS = ("You sell tea and talk fast.", "You are a patient teacher.")
START_SECONDS = 180


def words(arguments, formats, device):
    found = ["--model", str(arguments.model), "--device", device]
    weights, _, kv = formats.partition("/")
    found += ["--weights", weights] if weights else []
    return found + (["--kv", kv] if kv else [])


def talk(arguments, formats, device):
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "out.npy"
        command = [sys.executable, "-m", "inference", "talk", "--greedy"]
        command += words(arguments, formats, device)
        command += ["--input", str(arguments.input), "--text-prompt", ROLE]
        command += ["--voice", arguments.voice, "--output", f"{folder}/out.wav"]
        command += ["--output-tokens", str(tokens)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=400)
        if ended.returncode:
            raise RuntimeError(ended.stderr[-3000:])
        return np.load(tokens).T, {"said": ended.stdout.splitlines()[-1]}


def frames_of(path, limit):
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    padded = np.zeros((-(-len(pcm) // FRAME_SAMPLES), FRAME_SAMPLES), dtype=np.int16)
    padded.reshape(-1)[: len(pcm)] = pcm
    return padded[:limit]


async def session(url, name, role, voice, frames):
    """The tokens [n, 17], and how it went."""
    digest = hashlib.sha256(voice).hexdigest() if voice else ""
    opened = Open(name, role_prompt=role, voice=digest, sampling=Sampling(greedy=True))
    tokens, ticks, late = [], [], 0
    async with await WorkerSession.connect(url, SECRET, opened, voice) as talking:
        for number, pcm in enumerate(frames):
            talking.push(number, pcm)
            result = await anext(talking)
            tokens.append(result.tokens)
            ticks.append(result.tick_us / 1000)
            late += result.late
        ready = talking.ready
    report = {"prime_ms": ready.prime_ms, "prompt_frames": ready.prompt_frames}
    report |= {"tick_ms": round(float(np.median(ticks)), 2), "late": late}
    return np.stack(tokens), report | {"tick_most_ms": round(max(ticks), 2)}


async def conversations(url, arguments, voice, frames):
    """Three at once, then the first again by itself: its prompt is cached by then."""
    people = [("0", ROLE, voice), ("1", OTHERS[0], b""), ("2", OTHERS[1], voice)]
    talks = [session(url, *person, frames) for person in people]
    (tokens, report), *_ = await asyncio.gather(*talks)
    again, report_again = await session(url, *people[0], frames)
    report["again"] = report_again | {"differ": int((again != tokens).sum())}
    pcm = np.sin(np.arange(24_000 * 3) / 30).astype(np.float32) / 4
    encoded = await asyncio.to_thread(encode_voice, url, SECRET, pcm)
    _, report["own voice"] = await session(url, "3", ROLE, encoded, frames[:5])
    return tokens, report


def serve(arguments, formats, device):
    options = [*words(arguments, formats, device), *arguments.serve_with.split()]
    with serving(options) as worker:
        voice = voice_bytes(arguments)
        frames = frames_of(arguments.input, None)
        tokens, report = asyncio.run(
            conversations(worker.url, arguments, voice, frames)
        )
        report |= {"ready_s": worker.ready_s, "exit": worker.stop()}
        return tokens, report | {"measured": measured(worker.log)}


@dataclass
class Serving:
    url: str
    ready_s: float
    log: Path
    process: subprocess.Popen

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@contextlib.contextmanager
def serving(options, environment=None):
    """``serve`` with these options, once it is ready; its log with what goes wrong."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        began = time.perf_counter()
        command = [sys.executable, "-m", "inference", "serve", "--port", "0", *options]
        environment = os.environ | {"WORKER_SECRET": SECRET} | (environment or {})
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stderr=file)
        try:
            url = ready_url(process, log)
            ready_s = round(time.perf_counter() - began, 1)
            yield Serving(url, ready_s, log, process)
        except Exception as error:
            raise RuntimeError(f"{error!r}\n{log.read_text()[-2500:]}") from error
        finally:
            process.kill()
            process.wait(10)


def measured(log):
    """The formats that were chosen, and the tick."""
    lines = log.read_text().splitlines()
    chosen = [line for line in lines if "GB free" in line]
    return chosen[-1:] + [line for line in lines if "ms a tick" in line][-1:]


def voice_bytes(arguments):
    folder = model_folder(arguments.model)
    return preset_voice(folder, arguments.voice).read() if arguments.voice else b""


def ready_url(process, log):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"Ready on (ws://\S+):", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError("not ready")


def compared(tokens, others):
    count = min(len(tokens), len(others))
    wrong = tokens[:count] != others[:count]
    own, heard = wrong[:, :9].any(axis=1), wrong[:, 9:]
    first = int(own.nonzero()[0][0]) if own.any() else count
    return {"frames": count, "same_until": first, "heard_differ": int(heard.sum())}


def main():
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--model", default="tiny")
    add("--device", default="cuda")
    add("--input", type=Path, required=True)
    add("--voice", default="NATF0")
    add("--runs", default="talk:fp32,talk,talk:bf16,serve,serve:bf16,serve:int8/int8")
    add("--against", default="talk:fp32", help="what the CPU runs; empty: nothing")
    add("--serve-with", default="", help="more words for serve")
    add("--out", type=Path)
    arguments = parser.parse_args()
    kinds = {"talk": talk, "serve": serve}
    runs = [(run, arguments.device) for run in arguments.runs.split(",")]
    if arguments.against:
        runs.insert(0, (arguments.against, "cpu"))
    said, found, failed = {}, {}, False
    for run, device in runs:
        kind, _, formats = run.partition(":")
        name, began = f"{run} on {device}", time.perf_counter()
        try:
            tokens, found[name] = kinds[kind](arguments, formats, device)
        except (RuntimeError, subprocess.SubprocessError) as error:
            found[name], failed = {"failed": str(error)[-3000:]}, True
        else:
            found[name]["against"] = {
                other: compared(tokens, theirs) for other, theirs in said.items()
            }
            said[name] = tokens
        found[name]["seconds"] = round(time.perf_counter() - began, 1)
        sys.stdout.write(f"{name}: {json.dumps(found[name])}\n")
        sys.stdout.flush()
        if arguments.out:
            arguments.out.write_text(json.dumps(found) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
