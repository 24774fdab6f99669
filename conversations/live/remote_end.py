"""Conversations of this process that their users end from another page.

Such a page is made in another process, so it leaves a mark on the row
(``Conversation.ask_to_end``). All conversations of this process are looked up together,
once a second, by one query in a thread. This module must not depend on how a
conversation ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from conversations.models import Conversation
from conversations.threads import in_thread
from personaplex_site.watching import WatchList

LOOK_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class Watched:
    conversation: UUID
    end: Callable[[], None]


def watch(conversation: UUID, end: Callable[[], None]) -> Watched:
    """``end`` is called once it is asked for; ``forget`` it when the conversation is
    over."""
    watched = Watched(conversation, end)
    _watched.add(watched)
    return watched


def forget(watched: Watched) -> None:
    _watched.discard(watched)


async def look() -> None:
    keys = {watched.conversation for watched in _watched}
    asked = await in_thread(lambda: set(Conversation.objects.asked_to_end(keys)))
    for watched in _watched:
        if watched.conversation in asked:
            watched.end()


_watched: WatchList[Watched] = WatchList(
    look, lambda: LOOK_SECONDS, "requests to end a conversation were not looked up"
)
