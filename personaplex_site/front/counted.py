"""Log lines of what strangers can make happen as often as they like: counted, and one
line a second at most."""

from __future__ import annotations

import logging
import time

EVERY_SECONDS = 1.0


class Counted:
    """``what`` happened: how often since the last line, and an example."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self.count = 0
        self._log, self._what = log, what
        self._logged, self._logged_at = 0, -EVERY_SECONDS

    def add(self, example: object) -> None:
        self.count += 1
        now = time.monotonic()
        if now - self._logged_at < EVERY_SECONDS:
            return
        new, self._logged, self._logged_at = self.count - self._logged, self.count, now
        self._log.warning("%s: %d, %d in all: %s", self._what, new, self.count, example)
