"""What the engine promises to the code that serves sockets: the types that pass between
the model thread and an event loop. Must not depend on sockets or tensors.

Threads: everything in :class:`ModelThread` may be called from any thread and returns
at once, except where a ``Future`` is returned. A :class:`SessionListener` is called
on the model thread; it only hands over (``loop.call_soon_threadsafe``), never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.errors import PersonaplexError
from inference.timing import FRAME_MS

MAX_LOG_FRAMES = 180_000  # of a FrameLog: four hours
MAX_TEMPERATURE = 10.0  # of a Sampling


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen (spec sections 2 and 6)."""

    temperature_text: float = 0.7
    top_k_text: int = 25
    temperature_audio: float = 0.8
    top_k_audio: int = 250
    greedy: bool = False
    seed: int = 0


@dataclass(frozen=True)
class FrameLog:
    """The frames of a session so far: from this and its configuration it is rebuilt and
    continues with frame n, as if it had never stopped."""

    tokens: NDArray[np.uint16]  # [n, 17], FrameResult.tokens of frames 0 … n - 1
    # int16 [m, 1920], m <= n: the user's sound of the newest m of these frames, as it
    # was pushed. The codec encodes it again to restore its state;
    # EngineInfo.sound_frames of them are enough.
    user_pcm: NDArray[np.int16]


@dataclass(frozen=True)
class SessionConfig:
    """A session's immutable configuration: nothing of it changes after open."""

    conversation: str
    role_prompt: str = ""
    voice: bytes | None = None  # a .pt voice prompt (spec 9.4); None: no voice frames
    sampling: Sampling = field(default_factory=Sampling)
    # Keep the persona prompt in view when the window slides; None: as the engine does.
    pin_prompt: bool | None = None
    log: FrameLog | None = field(default=None, compare=False, repr=False)
    # The log still grows elsewhere: caught_up instead of primed, then Session.extend.
    more: bool = False


@dataclass(frozen=True)
class Primed:
    """The persona prompt is in the model; the first user frame may come."""

    slot: int
    prompt_frames: int
    prime_ms: float
    context_frames: int  # frames of full context left before the window slides


@dataclass(frozen=True)
class FrameResult:
    """What one user frame gave one session.

    ``tokens``: uint16 [17], *the frame's own record*: chosen (or forced) text token and
    8 agent codes of the timeline row that this user frame completed, then the 8 codes
    of that user frame. From these and the persona prompt every row can be rebuilt.
    ``piece`` and ``pcm`` answer this user frame: they are of the agent frame that the
    next step completes (spec 8.1), which depends on the user's frames up to this one
    and so runs at once.
    """

    frame: int  # 0, 1, 2 … of this conversation, those of its log included
    seq: int  # sequence number of the user frame
    dropped: int  # user frames dropped (oldest first) since the previous result
    queue_us: int  # from push to the start of the tick
    tick_us: int  # duration of the tick that served it
    late: bool  # queue + tick took longer than one frame
    tokens: NDArray[np.uint16]
    piece: str  # agent text, "" for padding
    pcm: NDArray[np.int16]  # [1920] agent sound, 24 kHz


class SessionListener(Protocol):
    def primed(self, info: Primed) -> None: ...

    def caught_up(self, frame: int) -> None:
        """All of the log is in the model; ``frame`` is the first that is not. Only of
        sessions that were opened or extended with ``more``."""

    def frame(self, result: FrameResult) -> None: ...

    def failed(self, error: PersonaplexError) -> None:
        """Called at most once; the session is closed and its slot free."""


class Session(Protocol):
    slot: int

    def push(self, seq: int, pcm: NDArray[np.int16]) -> None:
        """Queue one user frame, int16 [1920] at 24 kHz. Bounded: beyond
        ``queue_frames`` waiting frames the oldest is dropped and counted."""

    def extend(self, log: FrameLog, more: bool) -> None:
        """After ``caught_up``: the log's frames from that one on, with the sound
        of all its frames; perhaps nothing. Without ``more`` it goes live then."""

    def replace(self, config: SessionConfig, listener: SessionListener) -> Session:
        """Close it and open another in its place, which no other session can take.
        Raises WorkerBusy if it had been closed before and its place was taken."""

    def close(self) -> None:
        """Free the slot. Idempotent; no listener call follows its return's tick."""


@dataclass(frozen=True)
class EngineInfo:
    model: str  # name of the configuration, "tiny" or "personaplex-7b"
    fingerprint: str  # of config and weights; voice prompts fit one fingerprint
    device: str  # "cpu" or "cuda:0"
    slots: int
    trained: bool  # False: seeded random weights, the model can't talk
    context_frames: int
    tick_ms_at_start: float  # measured when the engine warmed up, one session
    sound_frames: int = 0  # user frames of a log that are worth keeping as sound
    pin_prompt: bool = False  # what SessionConfig.pin_prompt None means
    engine: str = "plain"  # or "fast", or "captured": plain, as one CUDA graph
    why_not_fast: str = ""  # on a GPU that the fast engine should have served


@dataclass(frozen=True)
class PromptCacheStats:
    """Persona prompts whose KV is kept; counters since start."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0
    entries: int = 0
    bytes: int = 0
    limit_bytes: int = 0


@dataclass(frozen=True)
class MemoryStats:
    """KV memory that sessions share, in frames; empty where each slot has its own.
    ``free``: not in use; a part of it that serves ``room`` sessions is not promised."""

    total: int = 0
    free: int = 0
    room: int | None = None  # sessions that may still begin; None: any number
    cut: int = 0  # sessions, since start, whose window ended early


@dataclass(frozen=True)
class EngineStats:
    """Counters since start, and percentiles over the last few thousand ticks."""

    sessions: int
    ticks: int
    frames: int
    late_frames: int
    dropped_frames: int
    tick_p50_ms: float
    tick_p99_ms: float
    prompt_cache: PromptCacheStats = field(default_factory=PromptCacheStats)
    memory: MemoryStats = field(default_factory=MemoryStats)
    headroom_ms: float = FRAME_MS  # of a frame, beyond the slowest of the last ticks


class ModelThread(Protocol):
    @property
    def info(self) -> EngineInfo: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def open(self, config: SessionConfig, listener: SessionListener) -> Session:
        """Take a slot and begin priming. Raises WorkerBusy at once when full."""

    def stats(self) -> EngineStats: ...

    def encode_voice(
        self, pcm: NDArray[np.float32], progress: Callable[[float], None]
    ) -> Future[bytes]:
        """Encode 24 kHz mono float32 [n], already at −24 LUFS, to the bytes of a
        .pt voice prompt (spec 9.3, 9.4). Runs between ticks; never delays them by
        more than one chunk. ``progress`` gets 0.0 to 1.0 on the model thread."""
