"""What befell a conversation, and what its page measured: for the review.

Owns the words of the notes. Times are those of the timeline in
:mod:`conversations.review.transcript`.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np

from conversations.frame_log.format import unpack_timings
from conversations.models import Conversation, EndReason
from conversations.review.transcript import Timeline

PAGE_POINTS = 300

_TEXTS = {
    "resumed": "The browser came back",
    "moved": "Another voice engine took over",
    "rewound": "Went back {detail}",
    "context_full": "The model's memory was full",
}
_PARKED = {
    EndReason.NETWORK_LOST: "The connection to the browser was lost",
    EndReason.SHUTDOWN: "The web server made way for another one",
}


def notes(conversation: Conversation, places: Places) -> list[dict[str, Any]]:
    """``at_s``, ``kind``, ``text`` and ``pause_s``: until sound came again, or null."""
    told = []
    for note in conversation.notes:
        kind, detail = str(note["kind"]), str(note["detail"])
        if kind == "parked":
            text = _PARKED.get(EndReason(detail), "Nobody held it for a while")
        else:
            text = _TEXTS.get(kind, kind).format(detail=detail)
        told.append(
            {
                "at_s": places.at(int(note["frame"])),
                "kind": kind,
                "text": text,
                "pause_s": round(note["ms"] / 1000, 2) if note["ms"] else None,
            }
        )
    return told


def page_figures(conversation: Conversation, places: Places) -> dict[str, Any] | None:
    """What the person heard, by their own page's word; None if it never said."""
    readings = [
        (frame, figures)
        for chunk in conversation.chunks.values_list("page", flat=True)
        for frame, figures in chunk
    ]
    if not readings:
        return None
    heard = [(f, r["latency_ms"]) for f, r in readings if "latency_ms" in r]
    latency = np.array([ms for _, ms in heard])
    every = max(1, len(heard) // PAGE_POINTS)
    return {
        "latency_p50_ms": _percentile(latency, 50),
        "latency_p95_ms": _percentile(latency, 95),
        "buffer_p50_ms": _percentile(_values(readings, "buffer_ms"), 50),
        "echo_p95": _percentile(_values(readings, "echo"), 95),
        # Counters of the page since it began: a reload begins anew.
        "underruns": _total(readings, "underruns"),
        "skipped_ms": _total(readings, "skipped_ms"),
        "stretched_ms": _total(readings, "stretched_ms"),
        "series": {
            "t": [places.at(frame) for frame, _ in heard[::every]],
            "latency_ms": [ms for _, ms in heard[::every]],
        },
    }


class Places:
    """Where frames of the log stand in the timeline."""

    def __init__(self, conversation: Conversation, timeline: Timeline) -> None:
        self._conversation = conversation
        self._timeline = timeline

    @cached_property
    def _chunks(self) -> list[tuple[int, bytes | memoryview]]:
        chunks = self._conversation.chunks.filter(frames__gt=0)
        return list(chunks.values_list("first_frame", "timings"))

    def at(self, frame: int) -> float:
        """Of the frame, or of the newest before it; 0 before the first."""
        index = bisect_right(self._chunks, frame, key=itemgetter(0)) - 1
        if index < 0:
            return 0.0
        first, timings = self._chunks[index]
        seqs = unpack_timings(bytes(timings))["seq"]
        return self._timeline.at(int(seqs[min(frame - first, len(seqs) - 1)]))


def _values(readings: list[tuple[int, dict[str, Any]]], name: str) -> Any:
    return np.array([figures[name] for _, figures in readings if name in figures])


def _percentile(values: Any, percent: int) -> float | None:
    return round(float(np.percentile(values, percent)), 2) if len(values) else None


def _total(readings: list[tuple[int, dict[str, Any]]], name: str) -> float | None:
    values = _values(readings, name)
    if not len(values):
        return None
    steps = np.diff(values, prepend=0.0)
    return round(float(np.where(steps < 0, values, steps).sum()), 2)
