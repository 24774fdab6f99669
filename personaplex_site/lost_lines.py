"""Log handlers on a full disk: lines that can't be written are counted, instead of a
traceback for each. Knows neither Django nor the supervisor.
"""

from __future__ import annotations

import logging
import sys


class CountsLostLines(logging.Handler):
    """For handlers that write. ``tell`` gets what should be said elsewhere: once
    that lines get lost, and how many it were when there is room again."""

    lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        lost = self.lost
        super().emit(record)
        if lost and self.lost == lost:
            self.lost = 0
            text = f"{lost} lines are missing here: they could not be written"
            fields = {"name": __name__, "levelname": "ERROR", "conversation": "-"}
            super().emit(logging.makeLogRecord({**fields, "msg": text}))
            self.tell(f"can be written again; {lost} lines are missing")

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.lost += 1
        if self.lost == 1:
            self.tell(f"can't be written: {error}")

    def tell(self, text: str) -> None:
        """Nowhere: a process whose standard error is full has no other place."""


class StderrHandler(CountsLostLines, logging.StreamHandler):
    pass
