"""Looks at all open sockets or conversations of a process together, now and then.

One task asks once for all of them, however many there are, and exists only while there
is at least one. What is asked, and what follows from the answer, belongs to the caller:
this module must not depend on sockets, sessions or conversations.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

from django.db.utils import Error as DatabaseProblem

log = logging.getLogger(__name__)

Watched = TypeVar("Watched")


class WatchList(Generic[Watched]):
    """``look`` is awaited every ``seconds()`` while something is on the list. Only the
    event loop may touch it. A database that can't be reached is logged with ``failed``,
    and asked again at the next turn."""

    def __init__(
        self,
        look: Callable[[], Awaitable[None]],
        seconds: Callable[[], float],
        failed: str,
    ) -> None:
        self._look = look
        self._seconds = seconds
        self._failed = failed
        self._watched: set[Watched] = set()
        self._looking: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Watched]:
        """Over those that were on the list when the iteration began."""
        return iter(frozenset(self._watched))

    def __len__(self) -> int:
        return len(self._watched)

    def __contains__(self, watched: object) -> bool:
        return watched in self._watched

    def add(self, watched: Watched) -> None:
        self._watched.add(watched)
        loop = asyncio.get_running_loop()
        task = self._looking
        if task is None or task.done() or task.get_loop() is not loop:
            self._looking = loop.create_task(self._look_now_and_then())

    def discard(self, watched: Watched) -> None:
        self._watched.discard(watched)

    async def _look_now_and_then(self) -> None:
        while self._watched:
            await asyncio.sleep(self._seconds())
            try:
                await self._look()
            except DatabaseProblem as error:
                log.warning("%s: %s", self._failed, error)
