"""Metrics that the browser sends of itself once a second. They come from the client, so
they are only shown, and nothing is decided by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from conversations.frame_log.metrics import percentile
from conversations.frame_log.reader import ClientReading, FrameLogReader

MAX_POINTS = 300
Readings = list[tuple[int, ClientReading]]


def client_metrics(reader: FrameLogReader) -> dict[str, Any] | None:
    """None if the browser never sent any."""
    readings = reader.client_stats
    if not readings:
        return None
    measured = [(f, r["latency_ms"]) for f, r in readings if "latency_ms" in r]
    every = max(1, -(-len(measured) // MAX_POINTS))
    return {
        "latency_p50_ms": _percentile(readings, "latency_ms", 50),
        "latency_p95_ms": _percentile(readings, "latency_ms", 95),
        "buffer_p50_ms": _percentile(readings, "buffer_ms", 50),
        "echo_p95": _percentile(readings, "echo", 95),
        # Counters of the page since it was loaded: a reload starts them at 0.
        "underruns": _total(readings, "underruns"),
        "skipped_ms": _total(readings, "skipped_ms"),
        "stretched_ms": _total(readings, "stretched_ms"),
        "series": {
            "t": reader.seconds_at([frame for frame, _ in measured[::every]]),
            "latency_ms": [ms for _, ms in measured[::every]],
        },
    }


def _values(readings: Readings, name: str) -> list[float]:
    return [stats[name] for _, stats in readings if name in stats]


def _percentile(readings: Readings, name: str, percent: int) -> float | None:
    values = _values(readings, name)
    return percentile(values, percent) if values else None


def _total(readings: Readings, name: str) -> float | None:
    values = _values(readings, name)
    if not values:
        return None
    steps = np.diff(values, prepend=0.0)
    return round(float(np.where(steps < 0, values, steps).sum()), 2)
