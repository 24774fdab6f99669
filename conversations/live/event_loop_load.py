"""Whether this web process has room for one more conversation: its event loop's lag and
CPU time.

A worker that is full says so; a web process that took everyone would make all of them
late instead. Lag is seen only once the people who talk are late already, so the loop's
CPU time is watched as well.

Who is refused here waits in the queue, as for a slot. A conversation that is resumed is
never refused.
"""

from __future__ import annotations

import time
from collections import deque

from django.conf import settings

from inference.errors import WorkerBusy

WINDOW_SECONDS = 2.0
MARK_SECONDS = 0.2
# From this share of either limit on people come in one by one, so that what each adds
# is seen before the next one asks.
CROWDED, APART_SECONDS = 0.6, 1.0
SHARE = 0.75  # of the looks, which may find it in time; the rest are accidents


class EventLoopLoad:
    """Fed by ``note``: how much too late a sleep on the event loop ended."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque()
        self._work: deque[tuple[float, float]] = deque()  # CPU seconds of the loop
        self._let_in_at = 0.0

    def note(self, late_s: float) -> None:
        now = time.monotonic()
        self._looks.append((now, late_s))
        if not self._work or now - self._work[-1][0] >= MARK_SECONDS:
            self._work.append((now, time.thread_time()))
        self._forget(now)

    def late_ms(self) -> float:
        """The upper quartile of the last two seconds' samples; 0 while there is no
        conversation."""
        self._forget(time.monotonic())
        if not self._looks:
            return 0.0
        ranked = sorted(late for _, late in self._looks)
        return 1000 * ranked[int(SHARE * (len(ranked) - 1))]

    def busy_percent(self) -> float:
        """Of the last two seconds, how much of a core the loop's thread used."""
        self._forget(time.monotonic())
        if len(self._work) < 2:
            return 0.0
        (began, cpu), (end, more) = self._work[0], self._work[-1]
        return 100 * (more - cpu) / (end - began)

    def is_late(self) -> bool:
        """Whether people hear it: asked by other threads, so it changes nothing."""
        since = time.monotonic() - WINDOW_SECONDS
        ranked = sorted(late for at, late in list(self._looks) if at >= since)
        if not ranked:
            return False
        return 1000 * ranked[int(SHARE * (len(ranked) - 1))] > settings.MAX_LOOP_LAG_MS

    def check(self) -> None:
        """Let one more in; raises WorkerBusy when there is no room."""
        late, busy, now = self.late_ms(), self.busy_percent(), time.monotonic()
        full = max(
            late / settings.MAX_LOOP_LAG_MS, busy / settings.MAX_LOOP_CPU_PERCENT
        )
        if full > 1 or (full > CROWDED and now - self._let_in_at < APART_SECONDS):
            raise WorkerBusy(
                f"this web process is {late:.0f} ms late, {busy:.0f} % busy"
            )
        self._let_in_at = now

    def _forget(self, now: float) -> None:
        for marks in (self._looks, self._work):
            while marks and marks[0][0] < now - WINDOW_SECONDS:
                marks.popleft()


PROCESS_LOAD = EventLoopLoad()
