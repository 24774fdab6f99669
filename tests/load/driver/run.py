"""A load test from the first connection to the figures.

One clock drives all microphones: conversation i of n speaks at i/n of each 80 ms, so
that the site gets an even stream, as from people who came one after another.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from inference.timing import FRAME_SECONDS
from tests.load.driver import marks
from tests.load.driver.cast import Seat
from tests.load.driver.processes import Processes
from tests.load.driver.talker import Options, Talker
from tests.load.driver.tally import Tally

OPENING = 8  # connections being opened at once
SWITCH_SECONDS = 0.0005  # that another thread may hold the interpreter
SAMPLES = 60  # of every process' memory, in the whole time
SETTLE_SECONDS = 2.0  # from the last one live to the first measurement
LAST_ANSWER_SECONDS = 3.0
CLOSE_SECONDS = 60.0

Progress = Callable[[str, float, Tally], None]  # phase, share done


@dataclass(frozen=True)
class Plan:
    seconds: float
    bitrate: int
    options: Options
    timeline: bool = False


class LoadTest:
    def __init__(
        self, seats: list[Seat], plan: Plan, processes: Processes, progress: Progress
    ) -> None:
        self.tally = Tally(plan.timeline)
        self.talkers: list[Talker] = []
        self._seats, self._plan = seats, plan
        self._processes, self._progress = processes, progress
        self._step = FRAME_SECONDS / len(seats)
        self._sent = 0
        self._begin = 0.0
        self._stopping = False

    async def run(self) -> dict[str, Any]:
        reader = marks.Reader()
        for number, seat in enumerate(self._seats):
            packets = marks.packets(number, self._plan.bitrate)
            options, tally = self._plan.options, self.tally
            self.talkers.append(Talker(number, seat, options, packets, tally, reader))
        self._progress("prepared", 0, self.tally)
        # A collection would be a pause of the driver that looks like one of the site.
        gc.collect()
        gc.freeze()
        gc.disable()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            return await self._run()
        finally:
            sys.setswitchinterval(interval)
            gc.enable()
            gc.unfreeze()

    async def _run(self) -> dict[str, Any]:
        self._begin = perf_counter()
        self._next()
        holding = await self._open()
        await asyncio.sleep(SETTLE_SECONDS)
        self.tally.begin()
        self._processes.begin()
        before = self.tally.received
        await self._measure()
        processes = self._processes.figures(self.tally.received - before)
        figures = {"processes": processes}
        self.tally.measuring = False
        await self._close(holding)
        return {**self.tally.figures(), **figures}

    async def _open(self) -> list[asyncio.Task[None]]:
        turn = asyncio.Semaphore(OPENING)
        holding: list[asyncio.Task[None]] = []

        async def open_one(talker: Talker) -> None:
            async with turn:
                holding.append(asyncio.create_task(talker.hold()))
                await talker.live_once()
                self._progress("opening", len(holding) / len(self.talkers), self.tally)

        await asyncio.gather(*map(open_one, self.talkers))
        return holding

    async def _measure(self) -> None:
        begun, seconds = perf_counter(), self._plan.seconds
        faults = self._plan.options.faults
        loop = asyncio.get_running_loop()
        if faults.stall_seconds:
            for talker in self.talkers:
                loop.call_later(faults.stall_at, talker.stall, faults.stall_seconds)
        every = max(1.0, seconds / SAMPLES)
        sampling = asyncio.create_task(self._sample(every))
        while (passed := perf_counter() - begun) < seconds:
            self._progress("talking", passed / seconds, self.tally)
            await asyncio.sleep(min(1.0, seconds - passed))
        sampling.cancel()

    async def _sample(self, every: float) -> None:
        """In a thread: finding all those processes takes tens of milliseconds, which
        every figure would feel."""
        while True:
            await asyncio.to_thread(self._processes.sample)
            await asyncio.sleep(every)

    async def _close(self, holding: list[asyncio.Task[None]]) -> None:
        self._progress("ending", 1, self.tally)
        self._stopping = True  # no more frames; what was sent is still answered
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_ANSWER_SECONDS):
                while any(talker.waiting for talker in self.talkers):
                    await asyncio.sleep(0.02)
        for talker in self.talkers:
            talker.end()
        _, unfinished = await asyncio.wait(holding, timeout=CLOSE_SECONDS)
        for task in unfinished:
            task.cancel()
        if unfinished:
            self.tally.ended["no end"] += len(unfinished)

    def _next(self) -> None:
        """Every frame that is due by now, then wait for the next one."""
        if self._stopping:
            return
        talkers, now = self.talkers, perf_counter()
        while (due := self._begin + self._sent * self._step) <= now:
            self.tally.lag.add(now - due)
            talkers[self._sent % len(talkers)].tick()
            self._sent += 1
            now = perf_counter()
        asyncio.get_running_loop().call_later(due - now, self._next)
