"""How long frames took on their way through the site, over the conversation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversations.frame_log.metrics import measured, path_percentiles, percentile
from conversations.frame_log.reader import FrameLogReader
from conversations.frame_log.segments import FrameTimes

MAX_POINTS = 300


def latency(reader: FrameLogReader) -> dict[str, Any] | None:
    if not len(reader.timings):
        return None
    timings = measured(reader.timings)
    path_ms = timings["path_us"] / 1000
    return {
        **path_percentiles(timings),
        "max_ms": round(float(path_ms.max()), 2),
        "stages": {
            f"{stage}_ms": percentile(timings[f"{stage}_us"] / 1000, 50)
            for stage in ("decode", "queue", "tick", "worker", "encode")
        },
        "series": _series(timings["seq"], path_ms, reader.times),
    }


def _series(
    seqs: NDArray[np.uint32], path_ms: NDArray[np.float64], times: FrameTimes
) -> dict[str, list[float]]:
    bins = min(MAX_POINTS, len(path_ms))
    parts = np.array_split(path_ms, bins)
    starts = np.array_split(seqs, bins)
    return {
        "t": [times.at(int(part[0])) for part in starts],
        "p50_ms": [percentile(part, 50) for part in parts],
        "max_ms": [round(float(part.max()), 2) for part in parts],
    }
