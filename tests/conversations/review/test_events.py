"""What the review says happened in a conversation, and what its page measured."""

import pytest

from conversations.frame_log.reader import FrameLogReader
from conversations.review.client_metrics import client_metrics
from conversations.review.events import events
from tests.conversations.logged import write_log
from tests.factories import ConversationFactory

pytestmark = pytest.mark.django_db


def note(frame, kind, ms=0, detail=""):
    return {"frame": frame, "kind": kind, "ms": ms, "detail": detail}


def test_notes_stand_where_they_happened():
    happened = [
        note(0, "moved", 120, "draining"),
        note(10, "parked", detail="network_lost"),
        note(10, "resumed", 2_340, "kept"),
        note(15, "rewound", detail="5 s"),
        note(20, "context_full"),
        note(20, "of_a_later_version", 1),
    ]
    # The microphone ran on for 25 frames while the site was away.
    log = write_log(ConversationFactory(events=happened), [*range(10), *range(35, 45)])
    found = events(FrameLogReader(log))
    assert [(n["at_s"], n["text"], n["pause_s"]) for n in found] == [
        (0.0, "Moved to another worker", 0.12),
        (2.8, "The connection to the browser was lost", None),
        (2.8, "The browser came back", 2.34),
        (3.2, "Rewound by 5 s", None),
        (3.52, "The model's memory was full", None),
        (3.52, "of_a_later_version", 0.0),
    ]


def test_the_pages_counters_add_up_over_a_reload():
    log = write_log(ConversationFactory(), range(50))
    chunks = list(log.chunks.all())
    chunks[0].client_stats = [
        [1, {"latency_ms": 200, "underruns": 1}],
        [13, {"underruns": 3}],
    ]
    chunks[1].client_stats = [[25, {"latency_ms": 300, "underruns": 2, "echo": 0.5}]]
    for chunk in chunks:
        chunk.save()
    figures = client_metrics(FrameLogReader(log))
    assert figures["underruns"] == 5
    assert (figures["latency_p50_ms"], figures["echo_p95"]) == (250, 0.5)
    assert figures["series"] == {"t": [0.08, 2.0], "latency_ms": [200, 300]}
    assert figures["skipped_ms"] is None


def test_a_page_that_said_nothing_is_no_page():
    log = write_log(ConversationFactory(), range(3))
    assert client_metrics(FrameLogReader(log)) is None
