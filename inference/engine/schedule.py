"""What waits for the model thread, and what it does next.

Holds the one lock, the queued frames of every session and the counters, and chooses the
next action. Must not depend on an engine: the model thread carries the action out.

When a tick starts. A frame that waits is served at once: a tick begins as soon as the
thread is free and one session has a frame, and takes one frame of every session that
has one by then. Waiting on purpose to collect more would delay everyone every time,
and gains nothing when it matters: the busier the thread, the more frames come in
during a tick and share the next one, so a frame never waits for more than the rest of
one tick, and batches grow by themselves exactly when capacity is short. One exception
pays: sessions keep their place in the 80 ms clock for minutes, so two whose frames
come 3 ms apart would cost two ticks each time, the second one late by almost a tick.
Where a batch costs about as much as a single session (GPUs), a tick therefore waits up
to ``grace`` for a session whose next frame is due within that time.

Who shares a tick. Where a batch costs the sum of its rows (CPUs: the engine runs them
one after the other) sharing gains nothing and makes the first wait for the last, so
``width`` is one there. The session served longest ago goes first, so that one with
frames to catch up, or one that floods, takes turns with the others. Elsewhere every
session that has a frame is in.

Order. Ticks go before chunks of priming, and those before chunks of voice encoding.
When ticks leave no gap, priming still gets a chunk each PRIME_PATIENCE seconds and
voices one each VOICE_PATIENCE seconds, so nothing starves and no tick waits for more
than one chunk of each.

Lateness is repaid: frames that waited run one after the other, faster than real time.
Beyond ``queue_frames`` the oldest is dropped and counted into the next result.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from enum import Enum, auto
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.engine.api import EngineStats, FrameLog, MemoryStats, PromptCacheStats
from inference.engine.requests import QueuedFrame, ThreadSession, VoiceJob
from inference.engine.stats import TickStats
from inference.errors import WorkerBusy, WorkerStopping
from inference.timing import FRAME_MS, FRAME_SECONDS

QUEUE_FRAMES = 6  # half a second: more delay than that is worse than a gap
MAX_TICK_MS = 60.0  # of 80: where a tick takes longer, no session is added to it
PRIME_PATIENCE = 0.25  # seconds
VOICE_PATIENCE = 1.0
MAX_VOICE_JOBS = 4


class Action(Enum):
    ADMIT = auto()  # take in opened and extended sessions, give back closed ones
    TICK = auto()
    PRIME = auto()
    ENCODE = auto()
    MEASURE = auto()
    STOP = auto()


class Turn(NamedTuple):
    """One session's part in a tick."""

    session: ThreadSession
    frame: QueuedFrame
    dropped: int


class Schedule:
    """Every method may be called from any thread and returns at once, except
    ``next``, which is the model thread's and waits for something to do."""

    def __init__(self, queue_frames: int) -> None:
        self.slots = 0
        self.width = 1  # sessions in a tick, at most
        self.grace = 0.0  # seconds
        self.max_tick_ms = MAX_TICK_MS
        self._queue_frames = queue_frames
        self._wake = threading.Condition()
        self._stats = TickStats()
        self._stopping = False
        self._taken: set[ThreadSession] = set()  # at most ``slots``
        self._opening: list[ThreadSession] = []  # or extended; at most ``slots``
        self._closing: list[ThreadSession] = []  # each session once
        self._priming: deque[ThreadSession] = deque()
        self._live: set[ThreadSession] = set()
        self._voices: deque[VoiceJob] = deque()  # at most MAX_VOICE_JOBS
        self._measure = False
        self._prime_served = self._voice_served = 0.0

    # Any thread.

    def add(
        self, session: ThreadSession, instead_of: ThreadSession | None = None
    ) -> None:
        with self._wake:
            if self._stopping:
                raise WorkerStopping
            if instead_of is not None:
                self.close(instead_of)
            if len(self._taken) >= self.slots:
                raise WorkerBusy(f"all {self.slots} slots are taken")
            self._check_room()
            self._taken.add(session)
            self._opening.append(session)
            self._wake.notify()

    def extend(self, session: ThreadSession, log: FrameLog, more: bool) -> None:
        with self._wake:
            if session.closed:
                return
            session.log_rest, session.more = log, more
            self._opening.append(session)
            self._wake.notify()

    def _check_room(self) -> None:
        """Refuses at once what the engine, which decides on memory, would refuse."""
        room = self._stats.memory.room
        if room is not None and len(self._opening) >= room:
            raise WorkerBusy("no memory for another conversation")
        slowest = self._stats.newest_p99()
        if self.width > 1 and self._taken and slowest > self.max_tick_ms:
            raise WorkerBusy(f"ticks take {slowest:.0f} ms of {FRAME_MS:.0f}")

    def push(self, session: ThreadSession, seq: int, pcm: NDArray[np.int16]) -> None:
        now = time.perf_counter()
        with self._wake:
            if session.closed:
                return
            if len(session.frames) >= self._queue_frames:
                session.frames.popleft()
                session.dropped += 1
                self._stats.dropped_frames += 1
            session.frames.append(QueuedFrame(seq, pcm, now))
            session.pushed_at = now
            self._wake.notify()

    def close(self, session: ThreadSession) -> bool:
        """False when it was closed already. The place is free from here on: the
        engine's slot is given back before the next open is looked at."""
        with self._wake:
            if session.closed:
                return False
            session.closed = True
            session.frames.clear()
            self._taken.discard(session)
            self._live.discard(session)
            if session in self._priming:
                self._priming.remove(session)
            self._closing.append(session)
            self._wake.notify()
            return True

    def add_voice(self, job: VoiceJob) -> None:
        with self._wake:
            if self._stopping:
                raise WorkerStopping
            if len(self._voices) >= MAX_VOICE_JOBS:
                raise WorkerBusy(f"{MAX_VOICE_JOBS} voices are being encoded")
            if not self._voices:
                self._voice_served = time.perf_counter()
            self._voices.append(job)
            self._wake.notify()

    def ask_to_measure(self) -> None:
        with self._wake:
            self._measure = True
            self._wake.notify()

    def stop(self) -> tuple[list[ThreadSession], list[VoiceJob]]:
        """Take nothing more. Returns what is left, which the caller has to fail."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
            return list(self._taken), list(self._voices)

    def stats(self) -> EngineStats:
        with self._wake:
            return self._stats.snapshot(sessions=len(self._taken))

    # The model thread.

    def next(self) -> Action:
        with self._wake:
            while not self._stopping:
                if self._opening or self._closing:
                    return Action.ADMIT
                now = time.perf_counter()
                if self._priming and now - self._prime_served > PRIME_PATIENCE:
                    return Action.PRIME
                if self._voices and now - self._voice_served > VOICE_PATIENCE:
                    return Action.ENCODE
                wait: float | None = None
                if any(session.frames for session in self._live):
                    wait = self._worth_waiting(now)
                    if wait <= 0:
                        return Action.TICK
                elif self._priming:
                    return Action.PRIME
                elif self._voices:
                    return Action.ENCODE
                elif self._measure:
                    self._measure = False
                    return Action.MEASURE
                self._wake.wait(wait)
        return Action.STOP

    def _worth_waiting(self, now: float) -> float:
        """Seconds to wait for another session's frame before the tick; 0: go."""
        until = self.grace + min(s.frames[0].pushed_at for s in self._live if s.frames)
        if now >= until:
            return 0.0
        due = (s.pushed_at + FRAME_SECONDS for s in self._live if not s.frames)
        return (
            until - now if any(now - self.grace <= at <= until for at in due) else 0.0
        )

    def take_moves(self) -> tuple[list[ThreadSession], list[ThreadSession]]:
        """The sessions to give back, and those to take in or to extend."""
        with self._wake:
            moves = self._closing, [s for s in self._opening if not s.closed]
            self._closing, self._opening = [], []
            return moves

    def take_turns(self) -> dict[int, Turn]:
        """A frame of every session in this tick, by slot."""
        with self._wake:
            waiting = [session for session in self._live if session.frames]
            waiting.sort(key=lambda s: (s.served_at, s.frames[0].pushed_at))
            turns, now = {}, time.perf_counter()
            for session in waiting[: self.width]:
                session.served_at = now
                frame, dropped = session.frames.popleft(), session.take_dropped()
                turns[session.slot] = Turn(session, frame, dropped)
            return turns

    def begin_priming(self, session: ThreadSession) -> None:
        with self._wake:
            if session.closed:
                return
            if not self._priming:
                self._prime_served = time.perf_counter()
            self._priming.append(session)

    def to_prime(self) -> ThreadSession | None:
        with self._wake:
            self._prime_served = time.perf_counter()
            return self._priming[0] if self._priming else None

    def go_live(self, session: ThreadSession) -> None:
        with self._wake:
            if not session.closed:
                self._priming.remove(session)
                self._live.add(session)

    def hold(self, session: ThreadSession) -> None:
        with self._wake:
            if not session.closed:
                self._priming.remove(session)

    def to_encode(self) -> VoiceJob:
        """Only the model thread removes jobs, so there is one after Action.ENCODE."""
        with self._wake:
            self._voice_served = time.perf_counter()
            return self._voices[0]

    def voice_done(self) -> None:
        with self._wake:
            self._voices.popleft()

    def note_memory(self, stats: MemoryStats) -> None:
        with self._wake:
            self._stats.memory = stats

    def note_prompts(self, stats: PromptCacheStats) -> None:
        with self._wake:
            self._stats.prompt_cache = stats

    def count_tick(self, seconds: float, frames: int, late_frames: int) -> None:
        with self._wake:
            self._stats.count_tick(seconds * 1000)
            self._stats.frames += frames
            self._stats.late_frames += late_frames
