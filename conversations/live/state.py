"""A conversation while this process has its lease: everything about it in one place.

``opening`` makes it; the connection to the worker, rewinds, handovers and the end work
on it. It must not depend on how any of these is done, nor on the browser's socket.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from conversations.frame_log.resume import ResumePoint
from conversations.frame_log.writer import FrameLogWriter
from conversations.live.admission import SessionRequest
from conversations.live.audio_path import AudioPath
from conversations.live.client_stats import ClientStats
from conversations.models import Conversation

MAX_EVENTS = 200  # that a row keeps, the newest


class PutEvent(Protocol):
    """Send the browser an event of docs/protocol.md."""

    def __call__(self, kind: str, **fields: object) -> None: ...


@dataclass
class LiveState:
    row: Conversation
    request: SessionRequest  # what each worker of this conversation is asked for
    resume_token: str  # what its browser comes back with
    resume_point: ResumePoint  # where the log ended when the lease was taken
    log_writer: FrameLogWriter
    path: AudioPath
    put_event: PutEvent
    ends_at: float  # of time.monotonic: the longest duration
    resumed: bool  # it has been live before, in this process or another
    ready_at: float = math.inf  # of time.monotonic: the browser may speak
    # What is to be recorded with the next answer, given the silence before it in ms.
    on_next_answer: Callable[[int], None] | None = None
    client_stats: ClientStats = field(default_factory=ClientStats)

    def record(self, kind: str, ms: int = 0, detail: str = "") -> None:
        """Keep an event for the review."""
        event = {"frame": self.path.frame, "kind": kind, "ms": ms, "detail": detail}
        self.row.events = [*self.row.events, event][-MAX_EVENTS:]
        self.log_writer.change(events=self.row.events)

    def keep_client_stats(self, fields: dict[str, Any]) -> None:
        if (kept := self.client_stats.take(fields)) is not None:
            self.log_writer.add_client_stats(kept)

    def notice(self, code: str, text: str, **fields: object) -> None:
        self.put_event("notice", code=code, text=text, **fields)
