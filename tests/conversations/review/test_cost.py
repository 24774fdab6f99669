"""What the review of an hour costs: queries, and bytes read from the database."""

import numpy as np
import pytest
from django.urls import reverse

from conversations.frame_log import format as stored
from conversations.frame_log.format import UserPacket
from conversations.models import FrameChunk, Levels
from tests.conversations.what_was_read import what_was_read
from tests.factories import ConversationFactory

HOUR = 45_000  # frames
CHUNK = 20
PAGE = {
    "latency_ms": 212.0, "buffer_ms": 52.0, "jitter_ms": 3.1, "underruns": 1.0,
    "skipped_ms": 0.0, "stretched_ms": 35.0, "echo": 0.04,
}  # fmt: skip


def chunk_of(conversation, first):
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


@pytest.fixture
def hour(persona):
    conversation = ConversationFactory(
        persona_version=persona.current,
        events=[{"frame": 500, "kind": "resumed", "ms": 20, "detail": ""}],
    )
    FrameChunk.objects.bulk_create(
        (chunk_of(conversation, first) for first in range(0, HOUR, CHUNK)),
        batch_size=200,
    )
    return conversation


def test_the_review_of_an_hour(client, alice, hour):
    client.force_login(alice)
    read = {}
    for name in ("data", "levels", "levels"):
        with what_was_read() as reading:
            client.get(reverse(f"conversation_{name}", args=[hour.pk]))
        read[name] = reading
    # The timings, 36 bytes a frame, once; with the text and the page's figures.
    assert len(read["data"].of_the_log()) == 2
    assert len(read["data"].queries) == 5
    assert read["data"].bytes < 2_500_000
    # What the page asks again while the levels are being made.
    assert read["levels"].of_the_log() == []
    assert len(read["levels"].queries) == 5
    assert read["levels"].bytes < 10_000

    side = bytes(2 * HOUR)
    Levels.objects.create(conversation=hour, rate=25.0, user=side, agent=side)
    with what_was_read() as reading:
        response = client.get(reverse("conversation_levels", args=[hour.pk]))
    assert len(reading.queries) == 4
    assert len(response.content) < 50_000


@pytest.mark.parametrize(
    ("side", "queries", "most"),
    [("user", 2, 15e6), ("agent", 2, 31e6), ("both", 3, 46e6)],
)
def test_a_recording_of_an_hour_reads_each_side_once(
    client, alice, hour, side, queries, most
):
    client.force_login(alice)
    with what_was_read() as reading:
        client.get(reverse("conversation_recording", args=[hour.pk, side]))
    assert len(reading.of_the_log()) == queries
    assert reading.bytes < most
