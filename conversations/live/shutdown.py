"""The conversations of this process, and what becomes of them when it stops.

Keeps the list of running conversations. This is where Twisted, under Daphne, matters.

SIGTERM is a process that makes way for another: its conversations are parked, and
their browsers asked back, which finds them another process. SIGINT is the end of
it all: they end. ``kill -9`` leaves both to the next process.

On either signal Daphne cancels every application and waits for the first of them only.
So the reactor gets a trigger of our own, which it waits for as well. And a thread of an
HTTP request that was cancelled waits for ever, so that Python would never exit: the
process leaves without asking its threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Any

from conversations.errors import EndReason
from conversations.live.conversation import LiveConversation

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 8.0
_running: dict[asyncio.Task[None], LiveConversation] = {}
_attended: set[int] = set()
_noted: list[int] = []


def keep(task: asyncio.Task[None], live: LiveConversation) -> None:
    """Hold on to a running conversation until its task is done."""
    _running[task] = live
    task.add_done_callback(lambda done: _running.pop(done, None))


def release(live: LiveConversation) -> None:
    """This process stops: end the conversation or park it. Who still waits for one
    keeps the position, and comes back to the next process."""
    if _stopped_by() == signal.SIGINT and live.begun:
        live.end(EndReason.SHUTDOWN)
    else:
        live.park(EndReason.SHUTDOWN)


async def release_all() -> None:
    """Every conversation of this process, waiting until they are written."""
    for live in _running.values():
        release(live)
    if _running:
        log.info("shutting down with %d conversations", len(_running))
        await asyncio.wait(list(_running), timeout=SHUTDOWN_SECONDS)


def note_signal(number: int) -> None:
    """For servers that stop by signals of their own: which one it was."""
    _noted.append(number)


def is_stopping() -> bool:
    return _stopped_by() is not None


def _stopped_by() -> int | None:
    """The signal, once this process stops for one."""
    if _noted:
        return _noted[0]
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    return getattr(reactor, "_exitSignal", None)


def attend_reactor() -> None:
    """Have Twisted's reactor wait for us when it stops, if this process has one."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is None or id(reactor) in _attended:
        return
    from twisted.internet.defer import Deferred

    _attended.add(id(reactor))
    reactor.addSystemEventTrigger(
        "before",
        "shutdown",
        lambda: Deferred.fromFuture(asyncio.ensure_future(release_all())),
    )
    reactor.addSystemEventTrigger("after", "shutdown", _exit)


def _exit() -> None:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
