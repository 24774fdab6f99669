"""Recordings: the Opus packets of the log in Ogg files, without encoding again.

Both sides start at the first user frame and end with the last answer. Where a packet is
missing there is silence. The answer to a frame begins where that frame ends, which is
the earliest that it can be heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from conversations.audio import ogg, opus
from conversations.frame_log.reader import FrameLogReader
from conversations.frame_log.segments import Side

RecordingSide = Literal["user", "agent", "both"]


def recording(reader: FrameLogReader, side: RecordingSide) -> bytes:
    """An Ogg Opus file of one side, or of both as left and right."""
    serial = reader.conversation.pk.int & 0xFFFFFFFF
    if side == "both":
        user, agent = _timed(reader, "user"), _timed(reader, "agent")
        return ogg.mux_pair(_consumed(user), _consumed(agent), serial)
    return ogg.mux(_consumed(_timed(reader, side)), serial)


def _timed(reader: FrameLogReader, side: Side) -> list[bytes]:
    """One packet for each frame of time, silence where there is none."""
    slots = [opus.silence()] * reader.times.sound_slots
    for seq, packet in reader.packets(side):
        if (slot := reader.times.slot(seq, side)) is not None:
            slots[slot] = packet
    return slots


def _consumed(packets: list[bytes]) -> Iterator[bytes]:
    """All of them, each let go of as it is given: four hours need not be in memory as
    packets and as a file at once."""
    packets.reverse()
    while packets:
        yield packets.pop()
