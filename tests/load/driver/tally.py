"""What is counted while conversations run.

Counters, histograms of constant size, and the JSON they end in. It must not depend on
sockets.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LATE_SECONDS = 0.08  # an answer that took longer than a frame
_BIN_MS = 0.1
_BINS = 300_000  # 30 s
PERCENTILES = (50, 95, 99, 99.9)


class Histogram:
    """Milliseconds, kept to 0.1; what is beyond 30 s counts as 30 s."""

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, np.uint32)
        self.most = 0.0

    def add(self, seconds: float) -> None:
        ms = seconds * 1000
        self._bins[min(int(ms / _BIN_MS), _BINS - 1)] += 1
        if ms > self.most:
            self.most = ms

    def clear(self) -> None:
        self._bins[:] = 0
        self.most = 0.0

    def summary(self) -> dict[str, float]:
        """p50, p95, p99, p99.9 and max in ms; empty when nothing was counted."""
        total = np.cumsum(self._bins)
        if not total[-1]:
            return {}
        ranks = [int(np.searchsorted(total, total[-1] * p / 100)) for p in PERCENTILES]
        found = {
            f"p{p}": round((rank + 1) * _BIN_MS, 1)
            for p, rank in zip(PERCENTILES, ranks, strict=True)
        }
        return {**found, "max": round(self.most, 1)}


@dataclass
class Second:
    """One second of the timeline."""

    latencies: list[float] = field(default_factory=list)
    sent: int = 0

    def row(self) -> list[float]:
        """Frames sent, answers, and their p50, p99 and max in ms."""
        if not self.latencies:
            return [self.sent, 0]
        values = 1000 * np.array(self.latencies)
        p50, p99 = np.percentile(values, (50, 99))
        figures = [round(float(v), 1) for v in (p50, p99, values.max())]
        return [self.sent, len(values), *figures]


class Tally:
    """``late``: answers that took more than 80 ms. ``lost``: frames sent and never
    answered. ``unsent``: microphone frames while there was no connection."""

    def __init__(self, timeline: bool = False) -> None:
        self.measuring = False  # latencies count only now; all else always
        self.sent = self.received = self.lost = self.unsent = 0
        self.late = self.reordered = self.wrong = self.checked = 0
        self.pieces = self.live = 0
        self.flagged_late = self.flagged_dropped = 0  # by the site, in frame headers
        self.errors: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.resumed_s: list[float] = []  # from a lost socket to `ready`
        self.silent_s: list[float] = []  # from the last answer to the next
        self.latency = Histogram()
        self.path = Histogram()
        self.lag = Histogram()
        self.seconds: dict[int, Second] | None = {} if timeline else None

    def begin(self) -> None:
        """Everything is live: what is measured from now on is in the percentiles."""
        self.measuring = True
        for histogram in (self.latency, self.path, self.lag):
            histogram.clear()

    def count_sent(self, at: float) -> None:
        self.sent += 1
        if self.seconds is not None:
            self.seconds.setdefault(int(at), Second()).sent += 1

    def count_answer(self, at: float, latency: float, path: float) -> None:
        """``at``: when the frame was sent; a second of the timeline has the answers to
        what was sent in it."""
        self.received += 1
        self.late += latency > LATE_SECONDS
        if self.measuring:
            self.latency.add(latency)
            self.path.add(path)
        if self.seconds is not None:
            self.seconds.setdefault(int(at), Second()).latencies.append(latency)

    def figures(self) -> dict[str, Any]:
        counts = {
            name: getattr(self, name)
            for name in (
                *("sent", "received", "lost", "unsent", "late", "reordered", "wrong"),
                *("checked", "pieces", "live", "flagged_late", "flagged_dropped"),
            )
        }
        found = {
            **counts,
            "added_latency_ms": self.latency.summary(),
            "site_path_ms": self.path.summary(),
            "driver_lag_ms": self.lag.summary(),
            "ended": dict(self.ended),
            "errors": dict(self.errors),
        }
        if self.resumed_s:
            found["resumed"] = len(self.resumed_s)
            found["resumed_s"] = _spread(self.resumed_s)
            found["silent_s"] = _spread(self.silent_s)
        if self.seconds is not None:
            begin = min(self.seconds, default=0)
            rows = sorted(self.seconds.items())
            found["timeline"] = [[at - begin, *s.row()] for at, s in rows]
        return found


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "p50": round(float(np.median(values)), 2),
        "max": round(max(values), 2),
    }
