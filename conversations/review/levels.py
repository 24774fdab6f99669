"""How loud both sides were, for the waveform: decodes a whole conversation.

Owns the scale of the levels. Slow (about 0.3 ms a frame), so only Celery calls it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from conversations import opus
from conversations.frame_log.resume import decode
from conversations.models import Conversation, Levels
from conversations.review.transcript import Timeline, agent_packets, user_packets
from inference.timing import FRAME_RATE

PER_FRAME = 2  # values per frame
RATE = PER_FRAME * FRAME_RATE  # 25 a second
FLOOR_DB = -60.0
SHOWN_POINTS = 3_000  # a side, in the review page


def measure(conversation: Conversation) -> Levels:
    """Decode both sides and keep their levels; a second time writes the same."""
    timeline = Timeline.of(conversation)
    levels, _ = Levels.objects.update_or_create(
        conversation=conversation,
        defaults={
            "rate": RATE,
            "user": levels_of(user_packets(conversation, timeline)),
            "agent": levels_of(agent_packets(conversation, timeline)),
        },
    )
    return levels


def levels_of(packets: Iterable[bytes]) -> bytes:
    """uint8, PER_FRAME a packet: 0 for −60 dBFS and below, 100 for full scale."""
    decoder = opus.Decoder()
    return b"".join(_level(decode(decoder, packet)) for packet in packets)


def _level(pcm: NDArray[np.int16]) -> bytes:
    parts = (pcm / 32768).reshape(PER_FRAME, -1)
    power = np.sqrt((parts**2).mean(axis=1))
    decibels = 20 * np.log10(np.maximum(power, 1e-6))
    scaled = 100 * (1 - decibels / FLOOR_DB)
    return np.clip(np.round(scaled), 0, 100).astype(np.uint8).tobytes()


def envelope(levels: Levels) -> dict[str, object]:
    """At most SHOWN_POINTS values a side: the loudest of each bin."""
    sides = [
        np.frombuffer(bytes(side), np.uint8) for side in (levels.user, levels.agent)
    ]
    step = max(1, -(-len(sides[0]) // SHOWN_POINTS))
    user, agent = (_loudest(side, step) for side in sides)
    return {"rate": levels.rate / step, "user": user, "agent": agent}


def _loudest(values: NDArray[np.uint8], step: int) -> list[int]:
    padded = np.pad(values, (0, -len(values) % step))
    return [int(value) for value in padded.reshape(-1, step).max(axis=1)]
