"""What every log line carries, and lines that are not repeated without end."""

import logging
import time
from collections import OrderedDict
from contextvars import ContextVar

import kombu.exceptions
import redis.exceptions
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation

AWAY = (
    ConnectionError,
    TimeoutError,
    kombu.exceptions.OperationalError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
)

# Set by the consumer of a conversation; every coroutine and thread hop that starts
# from it inherits the value.
conversation_id: ContextVar[str] = ContextVar("conversation_id", default="-")


class ConversationFilter(logging.Filter):
    """Adds ``conversation`` to each record; "-" where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.conversation = conversation_id.get()
        return True


class RefusalFilter(logging.Filter):
    """What a visitor may not do, or sent wrongly, is told in one line: a traceback is
    for errors of ours. Django logs one for an unknown Host and for every 403."""

    THEIRS = (PermissionDenied, SuspiciousOperation, BadRequest)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, self.THEIRS):
            record.exc_info = record.exc_text = None
        return True


class RepeatFilter(logging.Filter):
    """Lets one line of a kind through in ``seconds``, and says how many it kept back.

    For whatever reports a server that is away at every attempt to reach it. A kind is a
    logger, a level and a text before its values are filled in. What a library was doing
    when it found the server away says nothing: that is logged without a traceback.
    """

    MAX_KINDS = 100

    def __init__(self, seconds: float = 60.0) -> None:
        super().__init__()
        self._seconds = seconds
        # Kind → when it was last let through, and how many were kept back since.
        self._kinds: OrderedDict[tuple[str, int, str], tuple[float, int]]
        self._kinds = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.levelno, str(record.msg)[:200])
        now = time.monotonic()
        at, kept_back = self._kinds.get(kind, (-self._seconds, 0))
        if now - at < self._seconds:
            self._kinds[kind] = (at, kept_back + 1)
            return False
        self._kinds[kind] = (now, 0)
        self._kinds.move_to_end(kind)
        if len(self._kinds) > self.MAX_KINDS:
            self._kinds.popitem(last=False)
        record.msg, record.args = _in_one_line(record), ()
        if kept_back:
            record.msg += f" (and {kept_back} more like it)"
        return True


def _in_one_line(record: logging.LogRecord) -> str:
    away = server_away(record)
    if away is None:
        return " ".join(record.getMessage().split())
    first = record.getMessage().splitlines()[0]
    record.exc_info = record.exc_text = None
    return first if str(away) in first else f"{first}: {type(away).__name__}: {away}"


def server_away(record: logging.LogRecord) -> BaseException | None:
    """The error of a connection that the record's error is or comes from."""
    error = record.exc_info[1] if record.exc_info else None
    while error is not None and not isinstance(error, AWAY):
        error = error.__cause__ or error.__context__
    return error
