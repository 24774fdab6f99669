"""Sessions that join, leave and pause at random, at full rate, for as long as asked.

Four greedy ones are compared, bit for bit, with what the same sessions produced alone.
Must not depend on a command line.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.engine.api import Sampling
from inference.engine.gpu.batch import CudaSlotBatch
from inference.engine.gpu.measure import percentile
from inference.engine.prefill import PREFILL_CHUNK_GPU
from inference.network.timeline import make_frames, rows_of_frames
from inference.prompts.persona import PersonaPrompt
from inference.timing import FRAME_MS, FRAME_SAMPLES

WATCHED = 4
FRAMES = 600  # of a watched conversation, which then begins again
JOIN, LEAVE, PAUSE = 0.2, 0.004, 0.05  # of a slot, in each tick
JOINING_MS = 30.0  # of a tick's time, for those who begin
NOISES, NOISE_FRAMES = 16, 50


class Soak:
    def __init__(self, batch: CudaSlotBatch, frames: int = FRAMES) -> None:
        self.batch, self.frames = batch, frames
        config = batch.packed.config
        self._config, self._chance = config, random.Random(5)
        self._noise = [
            np.random.default_rng(seed)
            .normal(0, 2500, (NOISE_FRAMES, FRAME_SAMPLES))
            .astype(np.int16)
            for seed in range(NOISES)
        ]
        step = batch.width // WATCHED
        self.watched = [step * n + step // 2 for n in range(WATCHED)]
        self._live: dict[int, int] = {}  # slot: what makes its session
        self._said: dict[int, int] = {}  # frames of each
        self._alone = {slot: self._solo(slot) for slot in self.watched}
        self.joins = self.leaves = self.pauses = self.compared = self.unequal = 0

    def tick(self) -> float:
        """One, with what goes before it; milliseconds of all."""
        began = time.perf_counter()
        self._move(began)
        pcm = {}
        for slot, seed in self._live.items():
            if self._chance.random() < PAUSE:
                self.pauses += 1
            else:
                pcm[slot] = self._sound(seed, self._said[slot])
        if pcm:
            record, _, sound = self.batch.step(pcm)
            for slot in pcm:
                if slot in self._alone:
                    self._compare(slot, record[slot], sound[slot])
                self._said[slot] += 1
        return 1000 * (time.perf_counter() - began)

    def _move(self, began: float) -> None:
        for slot in self.watched:
            if self._said.get(slot, self.frames) >= self.frames:
                self._begin(slot, slot, greedy=True)
        for slot in set(range(self.batch.width)) - set(self.watched):
            chance = self._chance.random()
            spent = 1000 * (time.perf_counter() - began)
            if slot in self._live and chance < LEAVE:
                self.batch.end(slot)
                del self._live[slot]
                self.leaves += 1
            elif slot not in self._live and chance < JOIN and spent < JOINING_MS:
                self.joins += 1
                self._begin(slot, 1000 + self.joins, greedy=False)

    def _begin(self, slot: int, seed: int, greedy: bool) -> None:
        prompt = self._prompt(seed)
        self.batch.begin(slot, Sampling(greedy=greedy, seed=seed), 0, prompt.frames)
        fed = 0
        while fed < prompt.fed:
            fed = self.batch.feed(slot, prompt, fed, PREFILL_CHUNK_GPU)
        self.batch.lead(slot)
        self._live[slot], self._said[slot] = seed, 0

    def _prompt(self, seed: int) -> PersonaPrompt:
        generator = torch.Generator().manual_seed(seed)
        shape = (20 + seed % 60, 8)
        cards = self._config.audio_cardinality
        codes = torch.randint(0, cards, shape, generator=generator)
        frames = make_frames(len(codes), text=3, agent=codes, user=codes.flip(0))
        rows, carry = rows_of_frames(self._config, frames)
        return PersonaPrompt(str(seed), None, rows[:-1], rows[-1], carry)

    def _solo(self, seed: int) -> list[tuple[bytes, bytes]]:
        self._begin(0, seed, greedy=True)
        results = []
        for frame in range(self.frames):
            record, _, sound = self.batch.step({0: self._sound(seed, frame)})
            results.append((record[0].tobytes(), sound[0].tobytes()))
        self.batch.end(0)
        self._live.clear()
        self._said.clear()
        return results

    def _sound(self, seed: int, frame: int) -> NDArray[np.int16]:
        sound: NDArray[np.int16] = self._noise[seed % NOISES][frame % NOISE_FRAMES]
        return sound

    def _compare(
        self, slot: int, record: NDArray[np.int64], sound: NDArray[np.int16]
    ) -> None:
        self.compared += 1
        alone = self._alone[slot][self._said[slot]]
        self.unequal += (record.tobytes(), sound.tobytes()) != alone


def run_soak(
    batch: CudaSlotBatch,
    seconds: float,
    frames: int = FRAMES,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """A late tick is one that took longer than a frame."""
    soaked, times = Soak(batch, frames), list[float]()
    free: list[int] = []
    end = clock() + seconds
    while clock() < end:
        times.append(soaked.tick())
        if batch.device.type == "cuda" and len(times) % 100 == 0:
            free.append(torch.cuda.mem_get_info(batch.device)[0])
    return {
        "seconds": seconds,
        "sessions": batch.width,
        "ticks": len(times),
        "tick_ms": {
            "p50": round(percentile(times, 0.5), 2),
            "p99": round(percentile(times, 0.99), 2),
            "max": round(max(times), 2),
        },
        "late": sum(ms > FRAME_MS for ms in times),
        "joins": soaked.joins,
        "leaves": soaked.leaves,
        "pauses": soaked.pauses,
        "compared": soaked.compared,
        "unequal": soaked.unequal,
        "free_gb": [round(each / 1e9, 3) for each in (free[:1] + free[-1:])],
    }
