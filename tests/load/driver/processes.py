"""CPU and memory of the processes on this machine that serve the load.

It finds them by the ports they listen on, on this machine only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import psutil

MB = 1024 * 1024


class Watched:
    """A process and its children, whichever live when it is looked at."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.memory: list[tuple[float, float]] = []  # seconds, MB
        self._cpu_at_begin = 0.0

    def begin(self) -> None:
        self.memory.clear()
        self._cpu_at_begin = self._cpu_seconds()

    def sample(self) -> None:
        sizes = [self._read(p, lambda p: p.memory_info().rss) for p in self._family()]
        self.memory.append((time.monotonic(), sum(sizes) / MB))

    def figures(self, seconds: float, frames: int) -> dict[str, float]:
        """``cpu_us_a_frame`` says more than per cent on a machine that is shared;
        ``mb_a_minute`` is the slope of memory after the first fifth of the time."""
        used = self._cpu_seconds() - self._cpu_at_begin
        found = {
            "cpu_percent": round(100 * used / seconds, 1),
            "cpu_us_a_frame": round(1e6 * used / max(frames, 1)),
        }
        settled = self.memory[len(self.memory) // 5 :]
        if len(settled) >= 2:
            at, size = np.array(settled).T
            slope = np.polyfit(at - at[0], size, 1)[0]
            found |= {
                "mb_at_begin": round(self.memory[0][1], 1),
                "mb_at_end": round(self.memory[-1][1], 1),
                "mb_a_minute": round(60 * float(slope), 2),
            }
        return found

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def _cpu_seconds(self) -> float:
        def used(process: psutil.Process) -> float:
            times = process.cpu_times()
            return times.user + times.system

        return sum(self._read(process, used) for process in self._family())

    @staticmethod
    def _read(process: psutil.Process, what: Any) -> float:
        with suppress(psutil.Error):  # gone in the meantime
            return float(what(process))
        return 0.0


class Processes:
    """``ports``: name → the port that the process listens on; this process is
    "driver". A port that has no listener here is left out."""

    def __init__(self, ports: Iterable[tuple[str, int]]) -> None:
        listening = _listening()
        self._begun = 0.0
        self.watched = {
            name: Watched(listening[port]) for name, port in ports if port in listening
        }
        self.watched["driver"] = Watched(psutil.Process())

    def begin(self) -> None:
        self._begun = time.monotonic()
        for watched in self.watched.values():
            watched.begin()
            watched.sample()

    def sample(self) -> None:
        for watched in self.watched.values():
            watched.sample()

    def figures(self, frames: int) -> dict[str, dict[str, float]]:
        """``frames``: answered since ``begin``."""
        seconds = time.monotonic() - self._begun
        return {name: w.figures(seconds, frames) for name, w in self.watched.items()}


def _listening() -> dict[int, psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    # A parent before its children: they inherit the socket.
                    found.setdefault(connection.laddr.port, process)
    return found
