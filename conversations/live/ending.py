"""How a process leaves a conversation: ended, parked, or left to another process.

Here is the table from errors to that. Nothing here depends on sockets.
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db.utils import Error as DatabaseProblem

from conversations.errors import ConversationGone, EndReason, Superseded
from conversations.live import wire
from conversations.live.outbox import NotReading
from conversations.threads import in_thread_until
from inference.errors import PersonaplexError, TakenOver, WorkerLost, WorkerStopping

log = logging.getLogger(__name__)

WRITE_SECONDS = 60.0  # how long an absent database is waited for
RETRY_SECONDS = 1.0

# The first that fits the error of a task; anything else is the site's own fault.
_REASONS: list[tuple[type[BaseException], EndReason]] = [
    (WorkerStopping, EndReason.SHUTDOWN),
    (WorkerLost, EndReason.WORKER_LOST),
    (PersonaplexError, EndReason.MODEL_ERROR),
    (NotReading, EndReason.NETWORK_LOST),
    (ConnectionError, EndReason.NETWORK_LOST),
    (ConversationGone, EndReason.USER_ENDED),  # deleted while it was live
]
_LEFT = (1000, 1001, 1005)  # the page went away
# What the server closed with, or a browser that was sent nonsense: of no use to come
# back. The first four are the standard's: broken framing, text that is none, too large.
_BROKEN = (1002, 1003, 1007, 1009, wire.TOO_FAST)


class Leaving(enum.Enum):
    END = enum.auto()  # for good
    PARK = enum.auto()  # the browser may come back
    LET_GO = enum.auto()  # another process has the lease: write nothing


@dataclass(frozen=True)
class Ending:
    how: Leaving
    reason: EndReason
    close_code: int = wire.ENDED
    detail: str = ""


def ending_by(error: BaseException) -> Ending:
    """What the failure of a conversation's task leads to."""
    if isinstance(error, (TakenOver, Superseded)):
        detail = f"{type(error).__name__}: {error}"
        return Ending(Leaving.LET_GO, EndReason.WEB_LOST, wire.TAKEN_OVER, detail)
    reason = reason_of(error)
    if reason == EndReason.NETWORK_LOST:
        return Ending(Leaving.PARK, reason, wire.COME_BACK, str(error))
    return Ending(Leaving.END, reason, detail=str(error))


def reason_of(error: BaseException) -> EndReason:
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return EndReason.SITE_ERROR


def ending_by_close(code: int) -> Ending:
    """What the closing of a browser's socket means: 1012 is the server's own restart,
    the rest (1006 …) a connection that broke."""
    detail = f"close {code}"
    if code in _LEFT:
        return Ending(Leaving.END, EndReason.USER_LEFT, detail=detail)
    if code in _BROKEN:
        return Ending(Leaving.END, EndReason.PROTOCOL, code, detail)
    reason = EndReason.SHUTDOWN if code == 1012 else EndReason.NETWORK_LOST
    return Ending(Leaving.PARK, reason, wire.COME_BACK, detail)


async def write_with_retry(write: Callable[[], bool], what: str) -> bool:
    """Write how it was left, waiting for an absent database. False: it could not be
    written, or another process has the lease."""
    last = time.monotonic() + WRITE_SECONDS + RETRY_SECONDS
    try:
        written = await in_thread_until(write, last, RETRY_SECONDS)
    except DatabaseProblem as error:
        log.error("%s could not be written: %s", what, error)
        return False
    if not written:
        log.warning("ended, deleted or taken over by another process before %s", what)
    return written
