"""The one reader of the frame log: each column once, in few queries, within bounds."""

import numpy as np
import pytest

from conversations.errors import EndReason
from conversations.frame_log.format import (
    LATE,
    RESENT,
    FrameLogError,
    FrameLogTooLong,
    pack_timings,
    unpack_timings,
)
from conversations.frame_log.metrics import path_percentiles, summary_of
from conversations.frame_log.reader import FrameLogReader
from conversations.frame_log.resume import read_resume_point
from conversations.models import FrameChunk
from conversations.review.latency import latency
from tests.conversations.logged import write_log
from tests.conversations.what_was_read import what_was_read
from tests.factories import ConversationFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def log():
    """50 frames in three chunks; before the last of them five got lost."""
    seqs = [*range(45), *range(50, 55)]
    return write_log(ConversationFactory(), seqs, pieces=[(3, " Hi"), (44, "!")])


def columns_in(reading):
    names = (
        "tokens",
        "timings",
        "pieces",
        "client_stats",
        "user_packets",
        "agent_packets",
    )
    return [
        {name for name in names if f'"{name}"' in sql} for sql in reading.of_the_log()
    ]


def test_columns_named_together_come_by_one_query_and_once(log):
    reader = FrameLogReader(log)
    with what_was_read() as reading:
        reader.load("timings", "pieces", "client_stats")
        assert len(reader.timings) == len(reader.frames) == reader.end == 50
        assert reader.pieces == [(3, " Hi"), (44, "!")]
        assert reader.client_stats == []
        reader.load("timings", "pieces")
        reader.seconds_at([3])
        reader.seconds_at([44])
    assert columns_in(reading) == [
        {"timings", "pieces", "client_stats"},
        {"timings", "user_packets"},  # of the outermost chunks: where time begins
    ]


def test_a_column_that_was_not_named_is_read_by_itself_when_it_is_used(log):
    reader = FrameLogReader(log)
    with what_was_read() as reading:
        assert reader.tokens.shape == (50, 17)
        assert len(reader.pieces) == 2
    assert columns_in(reading) == [{"tokens"}, {"pieces"}]


def test_one_side_of_the_sound_leaves_the_other_alone(log):
    with what_was_read() as reading:
        assert len(list(FrameLogReader(log).packets("user"))) == 50
    assert columns_in(reading) == [{"user_packets"}]


def test_frames_stand_where_the_user_frame_stands_that_they_answer(log):
    reader = FrameLogReader(log)
    assert reader.seconds_at([-1, 0, 44, 45, 49, 90]) == [0, 0, 3.52, 4.0, 4.32, 4.32]
    assert reader.times.slots == 55


def test_packets_from_a_frame_on_begin_with_its_chunk(log):
    user = [seq for seq, _ in FrameLogReader(log).packets("user", 25)]
    agent = [seq for seq, _ in FrameLogReader(log).packets("agent", 25)]
    assert user == agent == [*range(20, 45), *range(50, 55)]
    assert len(list(FrameLogReader(log).packets("agent", 1_000))) == 10


def test_packets_from_a_frame_on_where_none_was_answered():
    log = ConversationFactory()
    assert list(FrameLogReader(log).packets("user", 3)) == []
    write_log(log, [])
    assert read_resume_point(log).frame == 0


def test_an_empty_log_is_empty():
    reader = FrameLogReader(ConversationFactory())
    assert (len(reader.timings), len(reader.tokens), reader.end) == (0, 0, 0)
    assert reader.times.seconds == 0
    assert reader.seconds_at([0, 5]) == [0.0, 0.0]


def test_more_frames_than_the_bound_are_refused(log, monkeypatch):
    monkeypatch.setattr("conversations.frame_log.reader.MAX_FRAMES", 49)
    for read in (
        lambda reader: reader.timings,
        lambda reader: reader.pieces,
        lambda reader: list(reader.packets("user")),
    ):
        with pytest.raises(FrameLogTooLong, match="more than 49 frames"):
            read(FrameLogReader(log))


def test_more_time_than_the_bound_is_refused(log, monkeypatch):
    monkeypatch.setattr("conversations.frame_log.reader.MAX_FRAMES", 54)
    with pytest.raises(FrameLogTooLong, match="55 frames of time"):
        _ = FrameLogReader(log).times


def test_reading_stops_at_the_bound_of_bytes(log, settings, monkeypatch):
    monkeypatch.setattr("conversations.frame_log.reader.ROWS_AT_ONCE", 1)
    settings.MAX_FRAME_LOG_MB = 0.001
    seen = []
    with pytest.raises(FrameLogTooLong, match=r"more than 0\.001 MB"):
        seen += FrameLogReader(log).packets("user")
    assert seen == []


def test_sound_streams_through(log, monkeypatch):
    """One chunk is fetched at a time, however many there are."""
    monkeypatch.setattr("conversations.frame_log.reader.ROWS_AT_ONCE", 1)
    with what_was_read() as reading:
        packets = FrameLogReader(log).packets("user")
        next(packets)
        first = reading.bytes
        list(packets)
    chunk = len(log.chunks.first().user_packets)
    assert chunk <= first < 2 * chunk
    assert reading.bytes > 2 * first


def test_a_conversation_ends_though_its_log_cannot_be_read():
    live = ConversationFactory(ended_at=None, end_reason="")
    write_log(live, range(20))
    live.chunks.update(timings=b"broken")
    with pytest.raises(FrameLogError):
        _ = FrameLogReader(live).timings
    assert live.finish(EndReason.USER_ENDED, dropped_frames=3)
    live.refresh_from_db()
    assert (live.end_reason, live.frames, live.dropped_frames) == ("user_ended", 0, 3)


def test_the_admin_and_the_review_show_the_same_percentiles():
    """Frames that an earlier process pushed, without times, are left out of both."""
    live = ConversationFactory(ended_at=None, end_reason="")
    write_log(live, range(100))
    for chunk in live.chunks.all():
        timings = unpack_timings(bytes(chunk.timings)).copy()
        timings["path_us"] = np.arange(20) ** 2 * 1_000 + chunk.first_frame
        timings["flags"][3] = RESENT
        timings["path_us"][3] = 7_000_000
        timings["flags"][5] = LATE
        chunk.timings = pack_timings([tuple(row) for row in timings.tolist()])
        chunk.save()
    assert live.finish(EndReason.USER_ENDED)
    live.refresh_from_db()
    shown = latency(FrameLogReader(live))
    kept = [live.path_p50_ms, live.path_p95_ms, live.path_p99_ms]
    assert [shown["p50_ms"], shown["p95_ms"], shown["p99_ms"]] == kept
    assert shown["max_ms"] == 361.08
    assert max(shown["series"]["max_ms"]) == 361.08
    assert live.late_frames == 5


def test_where_no_way_was_measured_all_count():
    log = write_log(ConversationFactory(), range(20))
    chunk = FrameChunk.objects.get()
    timings = unpack_timings(bytes(chunk.timings)).copy()
    timings["flags"] = RESENT
    assert path_percentiles(timings)["p50_ms"] == 30.01
    assert summary_of(log)["path_p50_ms"] == 30.01
