"""The conversation in every log line, whoever writes it."""

import logging
from contextvars import ContextVar

# Set by the consumer of a conversation; every coroutine and thread hop that starts
# from it inherits the value.
conversation_id: ContextVar[str] = ContextVar("conversation_id", default="-")


class ConversationFilter(logging.Filter):
    """Adds ``conversation`` to each record; "-" where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.conversation = conversation_id.get()
        return True
