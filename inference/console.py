"""A progress bar on standard error, or now and then a log line where there is no
terminal. Owns how progress is shown. Knows nothing of what is progressing.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

log = logging.getLogger(__name__)

WIDTH = 24
REDRAW_SECONDS = 0.2
LINE_SECONDS = 15.0  # between log lines
SCALES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def as_bytes(count: float) -> str:
    for scale, unit in SCALES:
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"


def as_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"


def as_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Bar:
    """``with Bar("model", size, as_bytes) as bar: bar.to(done)``."""

    def __init__(
        self,
        label: str,
        total: float,
        shown: Callable[[float], str],
        stream: TextIO | None = None,
    ) -> None:
        self._label, self._total, self._shown = label, total, shown
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._began = self._told = time.monotonic()
        self._start: float | None = None
        self._done = 0.0
        self._drawn = 0  # columns of the line on the screen

    def to(self, done: float) -> None:
        """``done`` of the total; it may also go back. What was there at the first
        call was not done now, and doesn't count for the time left."""
        if self._start is None:
            self._start = done
        self._done = done
        now = time.monotonic()
        if now - self._told >= (REDRAW_SECONDS if self._live else LINE_SECONDS):
            self._told = now
            self._tell()

    def line(self) -> str:
        share = min(self._done / self._total, 1.0) if self._total else 1.0
        filled = int(share * WIDTH)
        bar = "#" * filled + "." * (WIDTH - filled)
        amount = f"{self._shown(self._done)} of {self._shown(self._total)}"
        spent = time.monotonic() - self._began
        now = self._done - (self._start or 0.0)
        left = (self._total - self._done) * spent / now if now > 0 else 0.0
        ending = f", {as_time(left)} left" if 0 < left < 360_000 else ""
        return f"{self._label} [{bar}] {share:4.0%}, {amount}{ending}"

    def _tell(self) -> None:
        line = self.line()
        if not self._live:
            log.info("%s", line)
            return
        self._stream.write("\r" + line.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live and self._start is not None:
            self._tell()
            self._stream.write("\n")
            self._stream.flush()
