"""A conversation's figures, counted from the timings of its chunks.

Owns percentiles and counts. Knows chunks only as a query set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from django.db.models import QuerySet
from numpy.typing import NDArray

from conversations.frame_log.format import LATE, RESENT, TIMING, unpack_timings

if TYPE_CHECKING:
    from conversations.models import FrameChunk

PERCENTILES = (50, 95, 99)


def timings_of(chunks: QuerySet[FrameChunk]) -> NDArray[np.void]:
    """TIMING [frames] of all chunks, in one query that leaves the sound alone."""
    columns = chunks.order_by("first_frame", "frames").values_list("timings", flat=True)
    parts = [unpack_timings(bytes(column)) for column in columns]
    return np.concatenate(parts) if parts else np.empty(0, TIMING)


def path_percentiles(timings: NDArray[np.void]) -> dict[str, float]:
    """p50_ms, p95_ms and p99_ms of packet in → packet out."""
    measured = timings[(timings["flags"] & RESENT) == 0]
    if not len(measured):
        measured = timings
    values = np.percentile(measured["path_us"] / 1000, PERCENTILES)
    return {
        f"p{percentile}_ms": round(float(value), 2)
        for percentile, value in zip(PERCENTILES, values, strict=True)
    }


def missing_before(seqs: NDArray[np.int64], dropped: int) -> int:
    """Microphone frames that the browser never sent, seen in the sequence numbers."""
    if not len(seqs):
        return 0
    span = int(seqs[-1]) - int(seqs[0]) + 1
    return max(0, span - len(seqs) - dropped)


def summarise(chunks: QuerySet[FrameChunk]) -> dict[str, Any]:
    """What ``Conversation.finish`` writes on the row."""
    timings = timings_of(chunks)
    dropped = int(timings["dropped"].sum())
    figures: dict[str, Any] = {
        "frames": len(timings),
        "dropped_frames": dropped,
        "late_frames": int(np.count_nonzero(timings["flags"] & LATE)),
        "missing_frames": missing_before(timings["seq"].astype(np.int64), dropped),
    }
    if len(timings):
        percentiles = path_percentiles(timings)
        figures |= {f"path_{name}": value for name, value in percentiles.items()}
    return figures
