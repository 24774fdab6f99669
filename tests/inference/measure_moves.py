"""Move a talking session of the real model between two workers; how long is the pause?

    python -m tests.inference.measure_moves [--frames 100,1000,2900] [--model tiny]

Two processes of ``python -m inference serve`` on this machine, greedy, at real pace
while a session moves. *One phase*: the old worker is gone, the new one gets the whole
log, the conversation waits. *Two phases*: the old one keeps talking until the new one
has caught up. The pause is what is missing in the sound: from one agent frame to the
next, less 80 ms. The tokens of the next frames must be those of the unmoved session.
Needs neither Django nor pytest. The last line is JSON.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import time

import numpy as np

from inference.engine.api import FrameLog, Sampling
from inference.timing import FRAME_MS, FRAME_SECONDS
from inference.worker.client import WorkerSession
from inference.worker.protocol import Open

SECRET = secrets.token_hex()
COMPARED = 25  # frames after the move
SETTLE = 12  # frames at real pace before it
ENOUGH = 2  # frames behind: then the old session is let go of
OPENED = Open("moved", "You are a helpful guide.", sampling=Sampling(greedy=True))


class Worker:
    def __init__(self, model):
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "inference", "serve", "--port", "0"),
                *("--force", "--slots", "1", "--model", model),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1", "WORKER_SECRET": SECRET},
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self):
        for line in self._process.stderr:
            if found := re.search(r"Ready on (ws://\S+):", line):
                return found[1]
        raise SystemExit("a worker did not start")

    def cpu_seconds(self):
        with open(f"/proc/{self._process.pid}/stat") as stat:
            times = stat.read().rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self._process.kill()
        self._process.wait()


class Talk:
    """The unmoved conversation, and its log."""

    def __init__(self, session, sound):
        self.session, self.sound = session, sound
        self.tokens, self.arrived = [], []

    def __len__(self):
        return len(self.tokens)

    async def hear(self, session=None):
        session = session or self.session
        session.push(len(self), self.sound[len(self)])
        result = await anext(session)
        assert result.frame == len(self) and result.dropped == 0
        return result

    async def go_on(self):
        self.tokens.append((await self.hear()).tokens)
        self.arrived.append(time.perf_counter())

    async def at_pace(self, stop):
        """One frame each 80 ms until ``stop`` is set."""
        due = time.perf_counter()
        while not stop.is_set():
            await self.go_on()
            due += FRAME_SECONDS
            await asyncio.sleep(max(0, due - time.perf_counter()))

    def log(self, first=0, sound=None):
        count = len(self) - first
        heard = count if sound is None else min(count, sound)
        tokens = np.array(self.tokens[first:], np.uint16).reshape(-1, 17)
        return FrameLog(tokens, self.sound[len(self) - heard : len(self)])


async def one_phase(talk, url):
    await talk.go_on()
    began = time.perf_counter()
    log = talk.log(sound=talk.session.ready.sound_frames)
    moved = await WorkerSession.connect(url, SECRET, OPENED, log=log)
    ready = time.perf_counter()
    first = await talk.hear(moved)
    pause = 1000 * (time.perf_counter() - talk.arrived[-1]) - FRAME_MS
    return moved, first, {"rebuild_ms": 1000 * (ready - began), "pause_ms": pause}


async def two_phases(talk, url):
    stop = asyncio.Event()
    talking = asyncio.create_task(talk.at_pace(stop))
    await asyncio.sleep(SETTLE * FRAME_SECONDS)
    began, said, rounds = time.perf_counter(), len(talk), 0
    log = talk.log(sound=talk.session.ready.sound_frames)
    there = await WorkerSession.prepare(url, SECRET, OPENED, log=log)
    while len(talk) - there.frame > ENOUGH:
        await there.catch_up(talk.log(there.frame))
        rounds += 1
    stop.set()
    await talking  # the old one answers the frame at hand
    moved = await there.go(talk.log(there.frame))
    first = await talk.hear(moved)
    pause = 1000 * (time.perf_counter() - talk.arrived[-1]) - FRAME_MS
    total = 1000 * (time.perf_counter() - began)
    meanwhile = len(talk) - said
    return (
        moved,
        first,
        {
            "move_ms": total,
            "pause_ms": pause,
            "said_meanwhile": meanwhile,
            "rounds": rounds,
        },
    )


async def moved_once(talk, url, worker, how):
    cpu = worker.cpu_seconds()
    moved, first, figures = await how(talk, url)
    figures["worker_cpu_ms"] = 1000 * (worker.cpu_seconds() - cpu)
    at, answers = len(talk), [first.tokens]
    for number in range(at + 1, at + COMPARED):
        moved.push(number, talk.sound[number])
        answers.append((await anext(moved)).tokens)
    await moved.close()
    for _ in range(COMPARED):
        await talk.go_on()
    unmoved = talk.tokens[at : at + COMPARED]
    same = [a.tolist() == b.tolist() for a, b in zip(answers, unmoved, strict=True)]
    figures["same_tokens"] = f"{sum(same)} of {len(same)}"
    return {name: _round(value) for name, value in figures.items()}


def _round(value):
    return round(value, 1) if isinstance(value, float) else value


async def measure(points, old, new):
    noise = np.random.default_rng(1).standard_normal((max(points) + 2000, 1920))
    sound = (noise * 3000).astype(np.int16)
    urls = old.url(), new.url()
    found = []
    async with await WorkerSession.connect(urls[0], SECRET, OPENED) as session:
        talk = Talk(session, sound)
        for frames in points:
            while len(talk) < frames:
                await talk.go_on()
            for how in (one_phase, two_phases):
                await asyncio.sleep(1)  # the new worker frees its slot
                row = await moved_once(talk, urls[1], new, how)
                found.append({"frames": frames, "how": how.__name__, **row})
                sys.stdout.write(f"{found[-1]}\n")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", default="100,1000,2900")
    parser.add_argument("--model", default="tiny")
    given = parser.parse_args()
    points = [int(number) for number in given.frames.split(",")]
    workers = Worker(given.model), Worker(given.model)
    try:
        found = asyncio.run(measure(points, *workers))
    finally:
        for worker in workers:
            worker.stop()
    sys.stdout.write(json.dumps({"moves": found}) + "\n")


if __name__ == "__main__":
    main()
