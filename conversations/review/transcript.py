"""What a frame log says: recordings, transcript, latency.

Owns the timeline: every reading counts from the first user frame, and a frame stands
where its user frame stands, so a lost frame keeps its time on both sides. The agent's
sound is one frame behind what it answers (the model's own delay); that is how it was
heard, and it stays in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from conversations import ogg, opus
from conversations.frame_log.format import (
    FrameLogError,
    unpack_agent_packets,
    unpack_timings,
    unpack_user_packets,
)
from conversations.frame_log.metrics import path_percentiles, timings_of
from conversations.models import Conversation
from inference.timing import FRAME_SECONDS

Side = Literal["user", "agent", "both"]
PAUSE_SECONDS = 0.8  # words further apart begin a new stretch of the transcript
SERIES_POINTS = 300
MAX_SLOTS = 200_000  # four hours: more is a damaged log


@dataclass(frozen=True)
class Timeline:
    """Which user frame stands first, and how many frames there are places for."""

    first_seq: int
    slots: int

    @classmethod
    def of(cls, conversation: Conversation) -> Timeline:
        """Every seq of the log, answered or only received, lies in it."""
        chunks = conversation.chunks.order_by("first_frame", "frames", "id")
        first = last = None
        # The outermost chunks: those around them may be packets without frames.
        columns = chunks.values_list("timings", "user_packets")
        for timings, packets in (*columns[:2], *columns.reverse()[:2]):
            seqs = unpack_timings(bytes(timings))["seq"].tolist()
            seqs += [user.seq for user in unpack_user_packets(bytes(packets))]
            if seqs:
                first = min(seqs) if first is None else min(first, *seqs)
                last = max(seqs) if last is None else max(last, *seqs)
        if first is None or last is None:
            return cls(0, 0)
        slots = last - first + 1
        if not 0 < slots <= MAX_SLOTS:
            raise FrameLogError(f"{slots} frames in conversation {conversation.pk}")
        return cls(first, slots)

    @property
    def seconds(self) -> float:
        return round(self.slots * FRAME_SECONDS, 2)

    def at(self, seq: int) -> float:
        """Where a user frame begins, in seconds."""
        return round((seq - self.first_seq) * FRAME_SECONDS, 2)


def recording(conversation: Conversation, side: Side) -> bytes:
    """An Ogg Opus file of one side, or of both as left and right."""
    timeline = Timeline.of(conversation)
    serial = conversation.pk.int & 0xFFFFFFFF
    if side == "user":
        return ogg.mux(user_packets(conversation, timeline), serial)
    if side == "agent":
        return ogg.mux(agent_packets(conversation, timeline), serial)
    return ogg.mux_pair(
        user_packets(conversation, timeline),
        agent_packets(conversation, timeline),
        serial,
    )


def user_packets(conversation: Conversation, timeline: Timeline) -> list[bytes]:
    """One packet for each slot; silence where the microphone's frame is missing."""
    slots = [opus.silence()] * timeline.slots
    for column in conversation.chunks.values_list("user_packets", flat=True):
        for user in unpack_user_packets(bytes(column)):
            if 0 <= user.seq - timeline.first_seq < timeline.slots:
                slots[user.seq - timeline.first_seq] = user.packet
    return slots


def agent_packets(conversation: Conversation, timeline: Timeline) -> list[bytes]:
    """One packet for each slot; silence where a user frame was not answered."""
    slots = [opus.silence()] * timeline.slots
    columns = conversation.chunks.values_list("timings", "agent_packets")
    for timings, packets in columns:
        seqs = unpack_timings(bytes(timings))["seq"].tolist()
        answers = unpack_agent_packets(bytes(packets))
        for seq, packet in zip(seqs, answers, strict=True):
            if 0 <= seq - timeline.first_seq < timeline.slots:
                slots[seq - timeline.first_seq] = packet
    return slots


# --- text

Words = list[dict[str, Any]]


def transcript(conversation: Conversation, timeline: Timeline) -> list[dict[str, Any]]:
    """What the agent said, in stretches between pauses, with the time of each word.
    Where it was rewound a new stretch begins: both versions were heard."""
    stretches: list[Words] = []
    new = True
    for word in _words(conversation, timeline):
        if word is None:
            new = True
            continue
        if new or word["start_s"] - stretches[-1][-1]["end_s"] > PAUSE_SECONDS:
            stretches.append([])
        stretches[-1].append(word)
        new = False
    return [
        {
            "start_s": words[0]["start_s"],
            "end_s": words[-1]["end_s"],
            "text": " ".join(word["text"] for word in words),
            "words": words,
        }
        for words in stretches
    ]


def _words(
    conversation: Conversation, timeline: Timeline
) -> Iterator[dict[str, Any] | None]:
    """Pieces joined to words. White space ends one, wherever in a piece it stands; so
    does a pause, because not every script has spaces. None: it was rewound here."""
    word: dict[str, Any] | None = None
    rewound = [n["frame"] for n in conversation.notes if n["kind"] == "rewound"]
    for frame, seq, piece in _pieces(conversation):
        at = timeline.at(seq)
        if rewound and frame >= rewound[0]:
            rewound = [mark for mark in rewound if mark > frame]
            yield from (word, None)
            word = None
        if word is not None and at - word["end_s"] > PAUSE_SECONDS:
            yield word
            word = None
        for part in re.findall(r"\s+|\S+", piece):
            if part.isspace():
                if word is not None:
                    yield word
                word = None
                continue
            if word is None:
                word = {"start_s": at, "end_s": at, "text": ""}
            word["text"] += part
            word["end_s"] = round(at + FRAME_SECONDS, 2)
    if word is not None:
        yield word


def _pieces(conversation: Conversation) -> Iterator[tuple[int, int, str]]:
    """Each spoken piece, its frame and the user frame it stands at."""
    columns = conversation.chunks.values_list("first_frame", "timings", "pieces")
    for first, timings, pieces in columns:
        seqs = unpack_timings(bytes(timings))["seq"]
        for frame, piece in pieces:
            yield frame, int(seqs[frame - first]), piece


# --- latency


def latency(conversation: Conversation, timeline: Timeline) -> dict[str, Any] | None:
    timings = timings_of(conversation.chunks.all())
    if not len(timings):
        return None
    path_ms = timings["path_us"] / 1000
    return {
        **path_percentiles(timings),
        "max_ms": round(float(path_ms.max()), 2),
        "stages": {
            f"{stage}_ms": round(float(np.median(timings[f"{stage}_us"])) / 1000, 2)
            for stage in ("decode", "queue", "tick", "worker", "encode")
        },
        "series": _series(timings["seq"], path_ms, timeline),
    }


def _series(
    seqs: NDArray[np.uint32], path_ms: NDArray[np.float64], timeline: Timeline
) -> dict[str, list[float]]:
    bins = min(SERIES_POINTS, len(path_ms))
    parts = np.array_split(path_ms, bins)
    starts = np.array_split(seqs, bins)
    return {
        "t": [timeline.at(int(part[0])) for part in starts],
        "p50_ms": [round(float(np.median(part)), 2) for part in parts],
        "max_ms": [round(float(part.max()), 2) for part in parts],
    }
