"""An hour of conversation as rows of the frame log, as large as real ones."""

import numpy as np

from conversations.frame_log import format as stored
from conversations.frame_log.format import UserPacket
from conversations.models import Conversation, FrameChunk, Levels
from tests.factories import ConversationFactory

HOUR = 45_000  # frames
CHUNK = 20
PAGE = {
    "latency_ms": 212.0, "buffer_ms": 52.0, "jitter_ms": 3.1, "underruns": 1.0,
    "skipped_ms": 0.0, "stretched_ms": 35.0, "echo": 0.04,
}  # fmt: skip


def create_conversation(version, frames: int = HOUR) -> Conversation:
    conversation = ConversationFactory(
        persona_version=version,
        events=[{"frame": 500, "kind": "resumed", "ms": 20, "detail": ""}],
    )
    FrameChunk.objects.bulk_create(
        (_chunk(conversation, first) for first in range(0, frames, CHUNK)),
        batch_size=200,
    )
    return conversation


def _chunk(conversation, first):
    """As large as they are: Opus at 64 kbit/s from us, at 32 from a browser."""
    seqs = range(first, first + CHUNK)
    timing = (0, 0, 0, 200, 400, 900, 9_000, 10_000, 30_000)
    return FrameChunk(
        conversation=conversation,
        first_frame=first,
        frames=CHUNK,
        tokens=stored.pack_tokens([np.zeros(17, np.uint16)] * CHUNK),
        user_packets=stored.pack_user_packets(
            [UserPacket(seq, 0, b"\xe4" * 320) for seq in seqs]
        ),
        agent_packets=stored.pack_agent_packets([b"\xe4" * 645] * CHUNK),
        timings=stored.pack_timings([(seq, 80 * seq, *timing) for seq in seqs]),
        pieces=[[seq, " word"] for seq in seqs if seq % 4 == 0],
        client_stats=[[seq, PAGE] for seq in seqs if seq % 12 == 0],
    )


def create_levels(conversation, frames: int = HOUR) -> Levels:
    side = bytes(2 * frames)
    return Levels.objects.create(
        conversation=conversation, rate=25.0, user=side, agent=side
    )
