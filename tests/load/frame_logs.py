"""Whether a stored frame log can be read, and is whole up to the places it marks."""

from __future__ import annotations

from conversations.audio.opus import Decoder
from conversations.frame_log.format import (
    unpack_agent_packets,
    unpack_timings,
    unpack_tokens,
    unpack_user_packets,
)
from conversations.models import Conversation, FrameChunk


def problems_of(conversation: Conversation) -> list[str]:
    problems, missing, at = [], 0, 0
    decoder = Decoder()
    for chunk in conversation.chunks.order_by("first_frame", "pk"):
        try:
            _read(chunk, decoder)
        except ValueError as error:
            problems.append(f"frame {chunk.first_frame}: {error}")
        if chunk.first_frame < at:
            problems.append(f"frames {chunk.first_frame} … {at} are there twice")
        missing += max(0, chunk.first_frame - at)
        at = max(at, chunk.first_frame + chunk.frames)
    if missing > conversation.unwritten_frames:
        marked = conversation.unwritten_frames
        problems.append(f"{missing} frames are missing, {marked} are marked so")
    return [f"{conversation.pk}: {problem}" for problem in problems]


def _read(chunk: FrameChunk, decoder: Decoder) -> None:
    """Raises ValueError where a column is not what it should be."""
    lengths = {
        "tokens": len(unpack_tokens(bytes(chunk.tokens))),
        "timings": len(unpack_timings(bytes(chunk.timings))),
        "agent_packets": len(unpack_agent_packets(bytes(chunk.agent_packets))),
    }
    wrong = {name: n for name, n in lengths.items() if n != chunk.frames}
    if wrong:
        raise ValueError(f"{chunk.frames} frames, but {wrong}")
    for packet in unpack_agent_packets(bytes(chunk.agent_packets)):
        decoder.decode(packet)
    for user in unpack_user_packets(bytes(chunk.user_packets)):
        decoder.decode(user.packet)
