"""Progress of long commands: tqdm's bar on a terminal, elsewhere a log line now and
then. Standard output stays free for the command's answer.
"""

from __future__ import annotations

import io
import logging
import sys
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

log = logging.getLogger(__name__)

REDRAW_SECONDS = 0.2
LINE_SECONDS = 15.0  # between log lines
LINE = "{desc}: {percentage:.0f}%, {n_fmt}{unit} of {total_fmt}{unit}, {remaining} left"


def as_bytes(count: float) -> str:
    return str(tqdm.format_sizeof(count, "B"))


def as_time(seconds: float) -> str:
    return str(tqdm.format_interval(seconds))


class Bar:
    """``with Bar("model", size, "B") as bar: bar.to(done)``."""

    def __init__(
        self, label: str, total: float, unit: str, stream: TextIO | None = None
    ) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._stream = stream or sys.stderr
        self._bar: tqdm | None = None

    def to(self, done: float) -> None:
        """``done`` of the total; it may also go back. What was there at the first
        call was not done now, and doesn't count for the time left."""
        done = min(done, self._total)
        if self._bar is None:
            self._bar = self._start(done)
        self._bar.update(done - self._bar.n)

    def _start(self, done: float) -> tqdm:
        live = self._stream.isatty()
        return tqdm(
            desc=self._label,
            total=self._total,
            initial=done,
            unit=self._unit,
            unit_scale=True,
            file=self._stream if live else _LogLines(),
            leave=live,
            dynamic_ncols=live,
            bar_format=None if live else LINE,
            delay=0 if live else LINE_SECONDS,
            mininterval=REDRAW_SECONDS if live else LINE_SECONDS,
            miniters=0,
            smoothing=0,  # the time left follows from the mean rate
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class _LogLines(io.TextIOBase):
    """What tqdm draws, without its carriage returns and padding, to the log."""

    def write(self, text: str) -> int:
        if line := text.strip():
            log.info("%s", line)
        return len(text)
