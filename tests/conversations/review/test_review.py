"""Recordings, transcript, levels and latency, read from a frame log."""

import io

import numpy as np
import pytest
import soundfile

from conversations.frame_log.format import FrameLogError
from conversations.frame_log.metrics import summarise
from conversations.frame_log.reader import FrameLogReader
from conversations.models import FrameChunk, Levels
from conversations.review.latency import latency
from conversations.review.levels import envelope, levels_of, measure
from conversations.review.recording import recording
from conversations.review.transcript import transcript
from tests.conversations.logged import write_log
from tests.factories import ConversationFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation():
    return ConversationFactory()


def heard(conversation, side):
    sound, rate = soundfile.read(
        io.BytesIO(recording(FrameLogReader(conversation), side))
    )
    assert rate == 48_000
    return sound


def loud(sound):
    """For each frame, whether anything is heard (48 kHz; the codec is 312 behind)."""
    whole = np.pad(sound, (0, -len(sound) % 3_840)).reshape(-1, 3_840)
    return (np.abs(whole[:, 960:-960]).max(axis=1) > 0.05).tolist()


def test_both_sides_last_as_long_as_the_conversation_and_its_last_answer(conversation):
    write_log(conversation, range(50))
    assert FrameLogReader(conversation).times.seconds == 4.0
    assert len(heard(conversation, "user")) == pytest.approx(4.08 * 48_000, abs=320)
    assert len(heard(conversation, "agent")) == pytest.approx(4.08 * 48_000, abs=320)
    both = heard(conversation, "both")
    assert both.shape == (len(heard(conversation, "user")), 2)


def test_lost_frames_keep_their_time(conversation):
    """Numbers 5 to 9 never came; 15 to 17 came, but were not answered."""
    received = [*range(5), *range(10, 30)]
    answered = [seq for seq in received if seq not in (15, 16, 17)]
    write_log(conversation, answered, user_seqs=received)
    user = loud(heard(conversation, "user"))
    agent = loud(heard(conversation, "agent"))
    assert len(user) == len(agent) == 31
    assert [n for n, there in enumerate(user) if not there] == [5, 6, 7, 8, 9, 30]
    # An answer is heard after its frame.
    assert [n for n, there in enumerate(agent) if not there] == [
        0, *range(6, 11), 16, 17, 18,
    ]  # fmt: skip


def test_the_first_user_frame_is_second_zero_whatever_its_number(conversation):
    write_log(conversation, range(1_000, 1_025), pieces=[(10, " Hi")])
    reader = FrameLogReader(conversation)
    assert reader.times.slots == 25
    assert transcript(reader)[0]["start_s"] == 0.88


def test_an_empty_log_reads_as_nothing(conversation):
    reader = FrameLogReader(conversation)
    assert reader.times.seconds == 0
    assert transcript(reader) == []
    assert latency(reader) is None
    assert recording(reader, "both").startswith(b"OggS")
    assert measure(conversation).user == b""


def test_frames_lost_from_the_log_are_silence(conversation):
    write_log(conversation, range(60))
    FrameChunk.objects.get(first_frame=20).delete()
    sound = loud(heard(conversation, "agent"))
    assert len(sound) == 61
    assert not any(sound[21:41])
    assert sum(sound) == 40


def test_a_damaged_log_is_refused(conversation):
    write_log(conversation, range(20))
    chunk = FrameChunk.objects.get()
    chunk.user_packets = bytes(chunk.user_packets)[:-3]
    chunk.save()
    with pytest.raises(FrameLogError):
        recording(FrameLogReader(conversation), "user")


def test_pieces_become_words_with_times(conversation):
    pieces = [
        (2, " Hel"), (3, "lo"), (4, ","), (6, " you"), (30, " Well"), (31, "."),
    ]  # fmt: skip
    write_log(conversation, range(40), pieces=pieces)
    first, second = transcript(FrameLogReader(conversation))
    assert first == {
        "start_s": 0.24,
        "end_s": 0.64,
        "text": "Hello, you",
        "words": [
            {"start_s": 0.24, "end_s": 0.48, "text": "Hello,"},
            {"start_s": 0.56, "end_s": 0.64, "text": "you"},
        ],
    }
    assert (second["start_s"], second["text"]) == (2.48, "Well.")


def test_words_stand_where_their_frame_stands_after_a_gap(conversation):
    write_log(conversation, [*range(5), *range(25, 40)], pieces=[(5, " late")])
    (stretch,) = transcript(FrameLogReader(conversation))
    assert stretch["start_s"] == 2.08


def test_latency_has_percentiles_stages_and_a_bounded_series(conversation):
    write_log(conversation, range(700))
    shown = latency(FrameLogReader(conversation))
    assert shown["p50_ms"] == pytest.approx(30.35, abs=0.01)
    assert shown["p99_ms"] <= shown["max_ms"] == 30.7
    assert shown["stages"] == {
        "decode_ms": 0.2,
        "queue_ms": 0.9,
        "tick_ms": 9.0,
        "worker_ms": 10.0,
        "encode_ms": 0.4,
    }
    assert len(shown["series"]["t"]) == len(shown["series"]["max_ms"]) == 300
    assert shown["series"]["t"][0] == 0


def test_the_summary_counts_what_the_row_keeps(conversation):
    write_log(conversation, [0, 1, 2, 10, 11])
    figures = summarise(FrameLogReader(conversation).timings)
    assert figures["frames"] == 5
    assert figures["missing_frames"] == 7
    assert figures["path_p50_ms"] == 30.0


def test_levels_are_loud_where_it_is_loud(conversation):
    """Nothing came between frames 2 and 10; what came then is a tone."""
    write_log(conversation, [0, 1, *range(10, 20)])
    levels = np.frombuffer(levels_of(FrameLogReader(conversation), "user"), np.uint8)
    assert len(levels) == 42
    assert levels[4:20].max() < 5
    assert levels[24:40].min() > 70  # 8,000 of 32,768, RMS: −15 dBFS


def test_the_envelope_is_bounded(conversation):
    long = bytes(range(100)) * 450  # half an hour
    levels = Levels(conversation=conversation, rate=25.0, user=long, agent=long)
    shown = envelope(levels)
    assert len(shown["user"]) == len(shown["agent"]) == 3_000
    assert shown["rate"] == pytest.approx(25 / 15)
    assert max(shown["user"]) == 99


def test_measuring_twice_writes_the_same(conversation):
    write_log(conversation, range(10))
    first = bytes(measure(conversation).user)
    assert bytes(measure(conversation).user) == first
    assert len(first) == 22
    assert Levels.objects.count() == 1
