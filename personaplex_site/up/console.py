"""What the supervisor and its children say: to the terminal and to log files.

Must not block: a terminal that is stopped with Ctrl-S would otherwise fill the
children's pipes and stall live sound. Lines for the terminal wait in a bounded queue;
when it is full the newest are dropped, counted, and the count is shown. The same goes
for a log file that can't be written, as on a full disk.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from personaplex_site.lost_lines import CountsLostLines

WAITING_LINES = 2000
LOG_BYTES = 5 * 1024 * 1024
LOG_FILES = 3
_COLOURS = (36, 33, 35, 32, 34, 96, 93)
_WIDTH = 9


class LogFile(CountsLostLines, logging.handlers.RotatingFileHandler):
    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, delay=True)
        self.setFormatter(logging.Formatter("%(message)s"))
        self._path, self._tell = path, tell

    def tell(self, text: str) -> None:
        self._tell(f"{self._path} {text}")


class Console:
    def __init__(self, logs: Path | None = None, verbose: bool = True) -> None:
        self.logs = logs
        self._colours: dict[str, int] = {}
        self._files: dict[str, LogFile] = {}
        self._waiting: queue.Queue[tuple[TextIO, str] | None] = queue.Queue(
            WAITING_LINES
        )
        self.dropped = 0
        self._verbose = verbose
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def announce(self, text: str) -> None:
        """The few words meant for the person who started us, on standard output."""
        self._put(sys.stdout, f"{text}\n")

    def say(self, text: str) -> None:
        self._log("up", text)
        self._put(sys.stderr, self._prefixed("up", text))

    def child(self, name: str, text: str) -> None:
        self._log(name, text)
        if self._verbose:
            self._put(sys.stderr, self._prefixed(name, text))

    def close(self) -> None:
        try:
            self._waiting.put(None, timeout=1)
        except queue.Full:
            return  # a stopped terminal: the log files have every line
        self._thread.join(2)
        for handler in self._files.values():
            handler.close()

    def _prefixed(self, name: str, text: str) -> str:
        if not sys.stderr.isatty():
            return f"{name:<{_WIDTH}} | {text}\n"
        colour = self._colours.setdefault(
            name, _COLOURS[len(self._colours) % len(_COLOURS)]
        )
        return f"\x1b[{colour}m{name:<{_WIDTH}} |\x1b[0m {text}\n"

    def _put(self, stream: TextIO, text: str) -> None:
        try:
            self._waiting.put_nowait((stream, text))
        except queue.Full:
            self.dropped += 1

    def _write(self) -> None:
        shown_dropped = 0
        while (item := self._waiting.get()) is not None:
            stream, text = item
            if self.dropped != shown_dropped:
                lost, shown_dropped = self.dropped - shown_dropped, self.dropped
                text += f"up: {lost} lines were not shown; the log files have them\n"
            try:
                stream.write(text)
                stream.flush()
            except (OSError, ValueError):
                continue  # the terminal has gone; the log files remain

    def _log(self, name: str, text: str) -> None:
        if self.logs is None:
            return
        if name not in self._files:
            self._files[name] = LogFile(self.logs / f"{name}.log", self._tell)
        self._files[name].emit(
            logging.LogRecord(name, logging.INFO, "", 0, text, None, None)
        )

    def _tell(self, text: str) -> None:
        """Of the log files themselves: to the terminal alone."""
        self._put(sys.stderr, self._prefixed("up", text))
