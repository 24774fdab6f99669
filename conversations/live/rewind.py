"""Going back: what the model shall have behind it after a rewind.

Owns how far, how often, and when it can't be done. The restart itself is the worker
link's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from django.db.utils import Error as DatabaseProblem

from conversations.frame_log.resume import read_frame_log, read_turn
from conversations.frame_log.segments import LogSegments, Ranges
from conversations.live.state import Held
from conversations.threads import in_thread
from inference.engine.api import FrameLog
from inference.timing import FRAME_RATE, FRAME_SECONDS

log = logging.getLogger(__name__)

FLUSH_SECONDS = 3.0  # how long the database is waited for
INTERVAL = 1.0  # at least, between two


@dataclass(frozen=True)
class Back:
    """Where to: what is sent to the worker, and the same as ranges of the log."""

    log: FrameLog
    kept: Ranges
    seconds: float


class Rewinds:
    """``order`` may be called any time; beyond one that waits they are refused."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._orders: asyncio.Queue[float | None] = asyncio.Queue(1)
        self._ordered_at = -INTERVAL

    def order(self, seconds: float | None) -> None:
        """None: to where the agent's latest turn began."""
        now = time.monotonic()
        if now - self._ordered_at < INTERVAL or self._orders.full():
            self._held.notice("busy", "One moment: it is still going back.")
            return
        self._ordered_at = now
        self._orders.put_nowait(seconds)

    async def next(self, segments: LogSegments) -> Back:
        """Of the next order that can be carried out. The conversation goes on
        meanwhile."""
        while True:
            seconds = await self._orders.get()
            try:
                back = await self._plan(seconds, segments)
            except (TimeoutError, DatabaseProblem) as error:
                log.warning("not rewound: %s", error)
                text = "It can't go back just now. Please try again in a moment."
                self._held.notice("rewind_impossible", text)
                continue
            if back is not None:
                return back

    async def _plan(self, seconds: float | None, segments: LogSegments) -> Back | None:
        held = self._held
        end = held.path.frame
        now = segments.model_frame(end)
        async with asyncio.timeout(FLUSH_SECONDS):
            await held.recorder.flush()
        if seconds is not None:
            target: int | None = max(0, now - round(seconds * FRAME_RATE))
        else:
            target = await in_thread(lambda: read_turn(held.row, segments, end))
        if target is None:
            held.notice("nothing_said", "It has not said anything yet.")
            return None
        wanted = segments.rewound_to(target, end)
        behind, kept = await in_thread(lambda: read_frame_log(held.row, wanted, end))
        return Back(behind, kept.until(end), round((now - target) * FRAME_SECONDS, 2))
