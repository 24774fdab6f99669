"""What waits for the model thread: sessions with their frames, and voice jobs.

Data, and the interface of the engine that works on it; locks and order are in
``schedule``. Must not depend on sockets.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.engine.api import (
    EngineInfo,
    FrameLog,
    MemoryStats,
    PromptCacheStats,
    SessionConfig,
    SessionListener,
)
from inference.errors import PersonaplexError


class StepResult(Protocol):
    @property
    def tokens(self) -> NDArray[np.uint16]: ...  # [17]
    @property
    def piece(self) -> str: ...
    @property
    def pcm(self) -> NDArray[np.int16]: ...  # [1920]


class VoiceEncoding(Protocol):
    def step(self) -> float: ...
    def result(self) -> bytes: ...


class SteppedEngine(Protocol):
    """What this thread asks of an engine; :class:`inference.engine.engine.Engine`."""

    @property
    def info(self) -> EngineInfo: ...
    def open(self, config: SessionConfig) -> int: ...
    def extend(self, slot: int, log: FrameLog, more: bool) -> None: ...
    def prime(self, slot: int) -> int: ...
    def prompt_frames(self, slot: int) -> int: ...
    def context_frames(self, slot: int) -> int: ...
    def prompt_stats(self) -> PromptCacheStats: ...
    def memory_stats(self) -> MemoryStats: ...
    def step(self, pcm: dict[int, NDArray[np.int16]]) -> Mapping[int, StepResult]: ...
    def close(self, slot: int) -> None: ...
    def voice_encoder(self, pcm: NDArray[np.float32]) -> VoiceEncoding: ...
    def warm_up(self) -> float: ...


class QueuedFrame(NamedTuple):
    """A user frame in a session's queue."""

    seq: int
    pcm: NDArray[np.int16]  # [1920]
    pushed_at: float  # time.perf_counter


class Owner(Protocol):
    def add(self, session: ThreadSession, instead_of: ThreadSession | None) -> None: ...
    def extend(self, session: ThreadSession, log: FrameLog, more: bool) -> None: ...
    def push(
        self, session: ThreadSession, seq: int, pcm: NDArray[np.int16]
    ) -> None: ...
    def close(self, session: ThreadSession) -> bool: ...


class ThreadSession:
    """One session's side of the thread; see :class:`inference.engine.api.Session`."""

    def __init__(
        self, owner: Owner, config: SessionConfig, listener: SessionListener
    ) -> None:
        self.slot = -1  # until the engine gave one
        self.config = config
        self.listener = listener
        self.closed = False
        self.opened_at = time.perf_counter()
        self.frames: deque[QueuedFrame] = deque()  # at most queue_frames
        self.pushed_at = self.served_at = 0.0
        self.dropped = 0
        self.frame = 0 if config.log is None else len(config.log.tokens)
        self.more = config.more  # not live when it is primed: its log continues
        self.log_rest: FrameLog | None = None  # what to extend it with
        self._owner = owner

    def extend(self, log: FrameLog, more: bool) -> None:
        self._owner.extend(self, log, more)

    def replace(
        self, config: SessionConfig, listener: SessionListener
    ) -> ThreadSession:
        session = ThreadSession(self._owner, config, listener)
        self._owner.add(session, self)
        return session

    def push(self, seq: int, pcm: NDArray[np.int16]) -> None:
        self._owner.push(self, seq, pcm)

    def close(self) -> None:
        self._owner.close(self)

    def take_dropped(self) -> int:
        dropped, self.dropped = self.dropped, 0
        return dropped


class VoiceJob:
    def __init__(
        self, pcm: NDArray[np.float32], progress: Callable[[float], None]
    ) -> None:
        self.pcm = pcm
        self.progress = progress
        self.future: Future[bytes] = Future()
        self.encoder: VoiceEncoding | None = None

    def fail(self, error: PersonaplexError) -> None:
        with suppress(InvalidStateError):  # cancelled
            self.future.set_exception(error)

    def finish(self, prompt: bytes) -> None:
        with suppress(InvalidStateError):
            self.future.set_result(prompt)
