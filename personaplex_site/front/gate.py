"""Which requests are served, which wait, and which are refused.

Each kind of request has so many places and a queue before them. When the queue is full,
or a request has waited in it for too long, it is refused with 503 and counted. While
live conversations are late no request is let in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from django.conf import settings

from conversations.live import event_loop_load
from personaplex_site.databases import MACHINE_PLACES
from personaplex_site.front.answers import Refusal
from personaplex_site.front.counted import Counted

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05  # between two looks at whether conversations are still late
MACHINES_WAITING = 32


def conversations_are_late() -> bool:
    return event_loop_load.PROCESS_LOAD.late_ms() > settings.MAX_LOOP_LAG_MS


class Place:
    """One that was taken; given back once, however often ``give`` is called."""

    def __init__(self, places: Places | None, key: str = "") -> None:
        self._places, self._key = places, key

    def give(self) -> None:
        places, self._places = self._places, None
        if places is not None:
            places.give(self._key)


class Places:
    """``count`` at once, of which one ``key`` may have ``each``; ``waiting`` in
    a queue for ``seconds`` at most. While ``hold`` returns true none is let in."""

    def __init__(
        self,
        name: str,
        count: int,
        *,
        waiting: int = 0,
        seconds: float = 0.0,
        each: int = 0,
        hold: Callable[[], bool] = lambda: False,
    ) -> None:
        self.refused = Counted(log, f"{name} refused")
        self._count, self._each = count, each or count
        self._waiting, self._seconds, self._hold = waiting, seconds, hold
        self._taken: Counter[str] = Counter()
        self._queue: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._look: asyncio.TimerHandle | None = None

    @property
    def taken(self) -> int:
        return self._taken.total()

    @property
    def in_queue(self) -> int:
        return len(self._queue)

    @asynccontextmanager
    async def one(self, key: str = "") -> AsyncIterator[Place]:
        place = await self.take(key)
        try:
            yield place
        finally:
            place.give()

    async def take(self, key: str = "") -> Place:
        if not self._queue and (place := self.take_now(key)):
            return place
        if len(self._queue) >= self._waiting:
            raise self._refuse()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((key, turn))
        self._let_in()  # those before it may have as many as one may have
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # in the same moment
                self.give(key)
            else:
                self._queue.remove((key, turn))
            if isinstance(error, TimeoutError):
                raise self._refuse() from None
            raise
        return Place(self, key)

    def take_now(self, key: str = "") -> Place | None:
        """Without waiting."""
        if not self._fits(key) or self._hold():
            return None
        self._taken[key] += 1
        return Place(self, key)

    def give(self, key: str) -> None:
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]
        self._let_in()

    def _fits(self, key: str) -> bool:
        return self.taken < self._count and self._taken[key] < self._each

    def _let_in(self) -> None:
        """In the order in which they came, but for who has as many as one may have."""
        if not self._queue or self.taken >= self._count:
            return
        if self._hold():
            self._look_again()
            return
        for key, turn in list(self._queue):
            if turn.done() or not self._fits(key):
                continue
            self._queue.remove((key, turn))
            self._taken[key] += 1
            turn.set_result(None)

    def _look_again(self) -> None:
        """A place that is given back lets the next one in; the end of lateness is only
        seen by looking."""
        if self._look is None:
            loop = asyncio.get_running_loop()
            self._look = loop.call_later(LOOK_SECONDS, self._looked)

    def _looked(self) -> None:
        self._look = None
        self._let_in()

    def _refuse(self) -> Refusal:
        self.refused.add(f"{self.taken} are served, {self.in_queue} wait")
        return Refusal.crowded()


class Gate:
    """The places of this web process."""

    def __init__(self) -> None:
        seconds = settings.PAGE_WAIT_SECONDS
        self.pages = Places(
            "pages",
            settings.PAGE_PARALLEL,
            waiting=settings.PAGE_WAITING,
            seconds=seconds,
            hold=conversations_are_late,
        )
        most = settings.MAX_UPLOADS
        self.uploads = Places(
            *("uploads", most),
            waiting=4 * most,
            seconds=seconds,
            each=1,
            hold=conversations_are_late,
        )
        most = settings.MAX_DOWNLOADS
        self.downloads = Places(
            *("downloads", most),
            waiting=4 * most,
            seconds=seconds,
            each=max(1, most - 1),
        )
        # Late or not: a worker whose heartbeats don't arrive counts as gone.
        self.machines = Places(
            *("heartbeats", MACHINE_PLACES), waiting=MACHINES_WAITING, seconds=seconds
        )
