"""The conversations of this process, and ending them when it stops.

Owns the list of running conversations. Knows that Daphne runs on Twisted.

On SIGTERM Daphne cancels every application and waits for the first of them only. So
the reactor gets a trigger of our own, which it waits for as well. ``kill -9`` leaves
the end to ``Conversation.objects.end_abandoned``.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from conversations.live import LiveConversation
from conversations.models import EndReason

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 8.0
_running: dict[asyncio.Task[None], LiveConversation] = {}
_triggers: set[int] = set()


def keep(task: asyncio.Task[None], live: LiveConversation) -> None:
    """Hold on to a running conversation until its task is done."""
    _end_all_before_the_reactor_stops()
    _running[task] = live
    task.add_done_callback(lambda done: _running.pop(done, None))


async def end_all() -> None:
    """End every conversation of this process and wait until they are written."""
    for live in _running.values():
        live.end(EndReason.SHUTDOWN)
    if _running:
        log.info("shutting down: %d conversations end", len(_running))
        await asyncio.wait(list(_running), timeout=SHUTDOWN_SECONDS)


def _end_all_before_the_reactor_stops() -> None:
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is None or not reactor.running or id(reactor) in _triggers:
        return
    from twisted.internet.defer import Deferred

    _triggers.add(id(reactor))
    reactor.addSystemEventTrigger(
        "before",
        "shutdown",
        lambda: Deferred.fromFuture(asyncio.ensure_future(end_all())),
    )
