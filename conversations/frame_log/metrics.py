"""Counts and percentiles of a conversation, from its timings.

There is one kind of percentile here and in the worker's figures, numpy's default:
linear between the two nearest values. What is kept on the row of an ended conversation,
and shown in the admin, is what its review shows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from conversations.frame_log.format import LATE, RESENT, FrameLogError
from conversations.frame_log.reader import FrameLogReader

if TYPE_CHECKING:
    from conversations.models import Conversation

log = logging.getLogger(__name__)

PERCENTILES = (50, 95, 99)


def percentile(values: Sequence[float] | NDArray[Any], percent: float) -> float:
    """Of at least one value, to two decimals."""
    return round(float(np.percentile(values, percent)), 2)


def measured(timings: NDArray[np.void]) -> NDArray[np.void]:
    """Without the frames whose time in the site could not be measured, unless there
    are no others."""
    known = timings[(timings["flags"] & RESENT) == 0]
    return known if len(known) else timings


def path_percentiles(timings: NDArray[np.void]) -> dict[str, float]:
    """p50_ms, p95_ms and p99_ms of packet in → packet out."""
    path_ms = measured(timings)["path_us"] / 1000
    return {f"p{percent}_ms": percentile(path_ms, percent) for percent in PERCENTILES}


def missing_before(seqs: NDArray[np.int64], dropped: int) -> int:
    """Microphone frames that the browser never sent, seen in the sequence numbers."""
    if not len(seqs):
        return 0
    span = int(seqs[-1]) - int(seqs[0]) + 1
    return max(0, span - len(seqs) - dropped)


def summary_of(conversation: Conversation) -> dict[str, Any]:
    """What is kept on the row of a conversation that ends. Nothing where its log can't
    be read: it ends all the same."""
    try:
        return summarise(FrameLogReader(conversation).timings)
    except FrameLogError:
        log.exception("no figures of %s", conversation.pk)
        return {}


def summarise(timings: NDArray[np.void]) -> dict[str, Any]:
    dropped = int(timings["dropped"].sum())
    counts: dict[str, Any] = {
        "frames": len(timings),
        "dropped_frames": dropped,
        "late_frames": int(np.count_nonzero(timings["flags"] & LATE)),
        "missing_frames": missing_before(timings["seq"].astype(np.int64), dropped),
    }
    if len(timings):
        percentiles = path_percentiles(timings)
        counts |= {f"path_{name}": value for name, value in percentiles.items()}
    return counts
