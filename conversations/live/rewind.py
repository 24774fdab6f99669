"""Rewinding: what the model shall have behind it afterwards.

How far, how often, and when it can't be done. The worker's session is restarted by
:mod:`conversations.live.worker_connection`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from django.db.utils import Error as DatabaseProblem

from conversations.frame_log.resume import read_frame_log, read_turn
from conversations.frame_log.segments import LogSegments, Ranges
from conversations.live.state import LiveState
from conversations.threads import in_thread
from inference.engine.api import FrameLog
from inference.timing import FRAME_RATE, FRAME_SECONDS

log = logging.getLogger(__name__)

FLUSH_SECONDS = 3.0  # how long the database is waited for
INTERVAL = 1.0  # at least, between two


@dataclass(frozen=True)
class RewindPlan:
    """Where to: what is sent to the worker, and the same as ranges of the log."""

    log: FrameLog
    kept: Ranges
    seconds: float


class Rewinds:
    """``order`` may be called any time; beyond one that waits they are refused."""

    def __init__(self, state: LiveState) -> None:
        self._state = state
        self._orders: asyncio.Queue[float | None] = asyncio.Queue(1)
        self._ordered_at = -INTERVAL

    def order(self, seconds: float | None) -> None:
        """None: to where the agent's latest turn began."""
        now = time.monotonic()
        if now - self._ordered_at < INTERVAL or self._orders.full():
            self._state.notice("busy", "One moment: it is still going back.")
            return
        self._ordered_at = now
        self._orders.put_nowait(seconds)

    async def next(self, segments: LogSegments) -> RewindPlan:
        """For the next order that can be carried out; meanwhile people talk."""
        while True:
            seconds = await self._orders.get()
            try:
                plan = await self._plan(seconds, segments)
            except (TimeoutError, DatabaseProblem) as error:
                log.warning("not rewound: %s", error)
                text = "It can't go back just now. Please try again in a moment."
                self._state.notice("rewind_impossible", text)
                continue
            if plan is not None:
                return plan

    async def _plan(
        self, seconds: float | None, segments: LogSegments
    ) -> RewindPlan | None:
        state = self._state
        end = state.path.frame
        now = segments.model_frame(end)
        async with asyncio.timeout(FLUSH_SECONDS):
            await state.log_writer.flush()
        if seconds is not None:
            target: int | None = max(0, now - round(seconds * FRAME_RATE))
        else:
            target = await in_thread(lambda: read_turn(state.row, segments, end))
        if target is None:
            state.notice("nothing_said", "It has not said anything yet.")
            return None
        wanted = segments.rewound_to(target, end)
        behind, kept = await in_thread(lambda: read_frame_log(state.row, wanted, end))
        return RewindPlan(
            behind, kept.until(end), round((now - target) * FRAME_SECONDS, 2)
        )
