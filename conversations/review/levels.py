"""How loud both sides were, for the waveform.

A whole conversation is decoded for it, 0.3 ms a frame, so only Celery measures. The
sound streams through: what is kept of it is two bytes a frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conversations.audio import opus
from conversations.frame_log.reader import FrameLogReader
from conversations.frame_log.segments import Side
from conversations.models import Conversation, Levels
from inference.timing import FRAME_RATE

PER_FRAME = 2  # values per frame
RATE = PER_FRAME * FRAME_RATE  # 25 a second
FLOOR_DB = -60.0
MAX_POINTS = 3_000  # a side, in the review page


def measure(conversation: Conversation) -> Levels:
    """Decode both sides and keep their levels; a second time writes the same."""
    reader = FrameLogReader(conversation)
    levels, _ = Levels.objects.update_or_create(
        conversation=conversation,
        defaults={
            "rate": RATE,
            "user": levels_of(reader, "user"),
            "agent": levels_of(reader, "agent"),
        },
    )
    return levels


def levels_of(reader: FrameLogReader, side: Side) -> bytes:
    """uint8, PER_FRAME a frame: 0 for −60 dBFS and below, 100 for full scale."""
    levels = np.zeros((reader.times.sound_slots, PER_FRAME), np.uint8)
    decoder, after = opus.Decoder(), 0
    for seq, packet in reader.packets(side):
        slot = reader.times.slot(seq, side)
        if slot is None:
            continue
        if slot > after:  # a hole: the decoder hears the silence of the recording
            decoder.decode_or_silence(opus.silence())
        levels[slot] = _level(decoder.decode_or_silence(packet))
        after = slot + 1
    return levels.tobytes()


def _level(pcm: NDArray[np.int16]) -> NDArray[np.uint8]:
    parts = (pcm / 32768).reshape(PER_FRAME, -1)
    power = np.sqrt((parts**2).mean(axis=1))
    decibels = 20 * np.log10(np.maximum(power, 1e-6))
    scaled = 100 * (1 - decibels / FLOOR_DB)
    return np.clip(np.round(scaled), 0, 100).astype(np.uint8)


def envelope(levels: Levels) -> dict[str, object]:
    """At most MAX_POINTS values a side: the loudest of each bin."""
    sides = [
        np.frombuffer(bytes(side), np.uint8) for side in (levels.user, levels.agent)
    ]
    step = max(1, -(-len(sides[0]) // MAX_POINTS))
    user, agent = (_loudest(side, step) for side in sides)
    return {"rate": levels.rate / step, "user": user, "agent": agent}


def _loudest(values: NDArray[np.uint8], step: int) -> list[int]:
    padded = np.pad(values, (0, -len(values) % step))
    return [int(value) for value in padded.reshape(-1, step).max(axis=1)]
