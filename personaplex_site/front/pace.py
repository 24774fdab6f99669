"""How many requests the web process begins in a second.

Taking a request apart costs it some 0.3 ms, whatever becomes of the request, and
all conversations in this process wait meanwhile. So beyond a pace requests wait for
their turn, which slows down those who ask again as soon as they are answered; beyond a
number of them the next is refused at once.
"""

from __future__ import annotations

import asyncio
import logging
import time

from django.conf import settings

from personaplex_site.front.answers import Refusal
from personaplex_site.front.counted import Counted

log = logging.getLogger(__name__)
refused = Counted(log, "requests refused, since too many waited for their turn")

MAX_WAITING = 1000


class Pace:
    """A virtual clock that each request moves on by its share of a second; requests may
    be ahead of it by a burst (the generic cell rate algorithm of ATM networks)."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._waiting = 0

    async def turn(self) -> None:
        """Raises Refusal."""
        share = 1 / settings.REQUESTS_PER_SECOND
        now = time.monotonic()
        self._clock = max(self._clock, now) + share
        wait = self._clock - now - share * settings.REQUESTS_BURST
        if wait < 0.001:
            return
        if self._waiting >= MAX_WAITING:
            self._clock -= share  # it takes no turn
            refused.add(f"the clock is {wait:.1f} s ahead")
            raise Refusal.crowded()
        self._waiting += 1
        try:
            await asyncio.sleep(wait)
        finally:
            self._waiting -= 1
