"""Conversations of this process that their users end from another page.

Such a page is made in another process, so it leaves a mark on the row
(``Conversation.ask_to_end``). All conversations of this process are looked up together,
once a second, by one query in a thread. This module must not depend on how a
conversation ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db.utils import Error as DatabaseProblem

from conversations.models import Conversation
from conversations.threads import in_thread

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class Watched:
    conversation: UUID
    end: Callable[[], None]


_watched: set[Watched] = set()
_looking: asyncio.Task[None] | None = None


def watch(conversation: UUID, end: Callable[[], None]) -> Watched:
    """``end`` is called once it is asked for; ``forget`` it when the conversation is
    over."""
    global _looking
    watched = Watched(conversation, end)
    _watched.add(watched)
    loop = asyncio.get_running_loop()
    if _looking is None or _looking.done() or _looking.get_loop() is not loop:
        _looking = loop.create_task(_look_now_and_then())
    return watched


def forget(watched: Watched) -> None:
    _watched.discard(watched)


async def look() -> None:
    keys = {watched.conversation for watched in _watched}
    asked = await in_thread(lambda: set(Conversation.objects.asked_to_end(keys)))
    for watched in list(_watched):
        if watched.conversation in asked:
            watched.end()


async def _look_now_and_then() -> None:
    while _watched:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await look()
        except DatabaseProblem as error:
            log.warning("whether somebody asked to end was not looked up: %s", error)
