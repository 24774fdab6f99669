"""How a live conversation's end is decided and written.

Owns the table from errors to end reasons, and the last write. Knows no sockets.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from django.db.utils import Error as DatabaseProblem

from conversations import wire
from conversations.models import Conversation, EndReason
from conversations.outbox import NotReading
from conversations.recorder import in_thread
from inference.errors import PersonaplexError, WorkerLost, WorkerStopping

log = logging.getLogger(__name__)

SEND_SECONDS = 3.0
WRITE_SECONDS = 60.0  # how long an absent database is waited for
RETRY_SECONDS = 1.0

# The first that fits the error of a task; anything else is the site's own fault.
_REASONS: list[tuple[type[BaseException], EndReason]] = [
    (WorkerStopping, EndReason.SHUTDOWN),
    (WorkerLost, EndReason.WORKER_LOST),
    (PersonaplexError, EndReason.MODEL_ERROR),
    (NotReading, EndReason.NETWORK_LOST),
    (ConnectionError, EndReason.NETWORK_LOST),
]


@dataclass(frozen=True)
class Ending:
    reason: EndReason
    close_code: int = wire.ENDED
    detail: str = ""


def reason_of(error: BaseException) -> EndReason:
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return EndReason.SITE_ERROR


def reason_of_close(code: int) -> EndReason:
    """Why a browser's socket closed: 1000, 1001 and 1005 are a page that went away,
    1012 is the server's own restart, the rest (1006 …) a connection that broke."""
    if code in (1000, 1001, 1005):
        return EndReason.USER_LEFT
    return EndReason.SHUTDOWN if code == 1012 else EndReason.NETWORK_LOST


async def write_end(
    conversation: Conversation, reason: EndReason, **counts: int
) -> str:
    """Finish it, waiting for an absent database; the reason that stands in the end."""
    deadline = time.monotonic() + WRITE_SECONDS
    while True:
        try:
            mine = await in_thread(lambda: conversation.finish(reason, **counts))
            break
        except DatabaseProblem as error:
            if time.monotonic() > deadline:
                log.error("the end %s could not be written: %s", reason, error)
                return reason
            await asyncio.sleep(RETRY_SECONDS)
    if not mine:
        log.warning("had been ended or deleted by someone else before %s", reason)
    return reason
