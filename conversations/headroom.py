"""Whether this web process has room for one more conversation.

Owns how late its event loop is, which is what everybody in it hears. A worker that is
full says so; a web process that took everyone would make all of them late instead.

A loop that has more to do than it can is late in two ways: what sleeps on it wakes
late, and what comes to it waits in the sockets. Of a bad network only the second is
seen, and only by those who have one: three of four have to be late.

Whoever is told that there is no room waits in the line, as for a slot. A conversation
that comes back is never asked: its place is its own.
"""

from __future__ import annotations

import time
from collections import deque

from django.conf import settings

from inference.errors import WorkerBusy

WINDOW_SECONDS = 2.0
SHARE = 0.75  # of the looks, which may find it in time; the rest are accidents


class Headroom:
    """Told now and then by every conversation how late it is."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque()

    def note(self, late_s: float) -> None:
        now = time.monotonic()
        self._looks.append((now, late_s))
        self._forget(now)

    def late_ms(self) -> float:
        """What three of four looks of the last two seconds stayed below; 0 while nobody
        talks."""
        self._forget(time.monotonic())
        if not self._looks:
            return 0.0
        ranked = sorted(late for _, late in self._looks)
        return 1000 * ranked[int(SHARE * (len(ranked) - 1))]

    def check(self) -> None:
        """Raises WorkerBusy."""
        if (late := self.late_ms()) > settings.WEB_MOST_LATE_MS:
            raise WorkerBusy(f"this web process is {late:.0f} ms late")

    def _forget(self, now: float) -> None:
        while self._looks and self._looks[0][0] < now - WINDOW_SECONDS:
            self._looks.popleft()


of_this_process = Headroom()
