"""What the browser may send, and what is malformed, too large or too fast."""

import json
import struct

import pytest

from conversations.live import wire
from conversations.live.frame_pace import FramePace
from inference.engine.api import Sampling


def frame(kind=1, flags=0, seq=0, payload=b"x"):
    return struct.pack("<BBHI", kind, flags, 0, seq) + payload


def test_a_frame_is_read():
    got = wire.parse_frame(frame(1, wire.MUTED, 7, b"opus"))
    assert got == wire.UserFrame(wire.OPUS, wire.MUTED, 7, b"opus")


@pytest.mark.parametrize(
    "data",
    [b"", b"\1", frame(payload=b""), frame(kind=3), frame(2, payload=bytes(100))],
)
def test_it_refuses_a_malformed_frame(data):
    with pytest.raises(wire.WireError) as caught:
        wire.parse_frame(data)
    assert caught.value.close_code == 4400


def test_it_refuses_a_large_frame():
    with pytest.raises(wire.TooLarge):
        wire.parse_frame(frame(payload=bytes(9_000)))


def test_an_agent_frame_says_how_long_it_took_in_tenths_of_milliseconds():
    data = wire.agent_frame(wire.OPUS, wire.LATE, 31_250, 9, b"opus")
    assert struct.unpack_from("<BBHI", data) == (1, 1, 312, 9)
    slow = wire.agent_frame(wire.OPUS, 0, 10_000_000, 9, b"")
    assert struct.unpack_from("<BBHI", slow)[2] == 65_535


def test_start_and_end_are_read():
    start = wire.parse_event('{"type":"start","audio":"pcm","sampling":{"seed":5}}')
    assert start == wire.Start("pcm", Sampling(seed=5), seeded=True)
    assert wire.parse_event('{"type":"end"}') == wire.End()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 8_000,
        '{"type":"begin"}',
        '{"type":"start"}',
        '{"type":"start","audio":"mp3"}',
        '{"type":"start","audio":"opus","sampling":[1]}',
        '{"type":"start","audio":"opus","sampling":{"temperature":1}}',
        '{"type":"start","audio":"opus","sampling":{"seed":"1"}}',
        '{"type":"start","audio":"opus","sampling":{"seed":true}}',
        '{"type":"start","audio":"opus","sampling":{"greedy":1}}',
        '{"type":"start","audio":"opus","sampling":{"temperature_text":NaN}}',
        '{"type":"start","audio":"opus","sampling":{"temperature_text":1e999}}',
    ],
)
def test_it_refuses_a_malformed_event(text):
    with pytest.raises(wire.WireError) as caught:
        wire.parse_event(text)
    assert caught.value.close_code == 4400


def test_it_refuses_a_large_event():
    with pytest.raises(wire.TooLarge):
        wire.parse_event(json.dumps({"type": "x" * 9_000}))


def test_sampling_is_moved_into_safe_ranges():
    wild = {
        "temperature_text": 99,
        "temperature_audio": -1,
        "top_k_text": 0,
        "top_k_audio": 10**9,
        "seed": -5,
        "greedy": True,
    }
    assert wire.clamp_sampling(wild) == Sampling(1.5, 1, 0.1, 2_048, True, 0)
    assert wire.clamp_sampling({}) == Sampling()


def test_what_a_page_offers_is_what_it_gets():
    choices = wire.sampling_choices()
    usual = {name: choice["default"] for name, choice in choices.items()}
    assert usual.pop("seed") is None
    assert wire.clamp_sampling(usual) == Sampling()
    for end in ("least", "most"):
        wish = {name: choice[end] for name, choice in choices.items()}
        applied = wire.sampling_event(wire.clamp_sampling(wish))
        assert applied == wish | {"greedy": False}


def test_real_time_with_a_burst_at_the_start_is_fine():
    pace = FramePace(100.0)
    now = 100.0
    for seq in range(25):
        pace.admit(seq, now)
    for seq in range(25, 2_000):
        now += 0.08
        assert pace.admit(seq, now) == 0


def test_too_many_at_once_are_too_fast():
    pace = FramePace(100.0)
    with pytest.raises(wire.TooFast):
        for seq in range(40):
            pace.admit(seq, 100.0)


def test_a_stalled_network_may_catch_up():
    pace = FramePace(0.0)
    for seq in range(75):
        pace.admit(seq, 6.0)


def test_but_not_half_a_minute_at_once():
    pace = FramePace(0.0)
    with pytest.raises(wire.TooFast):
        for seq in range(375):
            pace.admit(seq, 30.0)


def test_numbers_may_skip_only_what_time_has_passed():
    pace = FramePace(0.0)
    pace.admit(1_000, 0.0)
    assert pace.admit(1_010, 1.0) == 9
    assert pace.missing == 9
    with pytest.raises(wire.TooFast):
        pace.admit(4_000_000_000, 2.0)


@pytest.mark.parametrize("again", [5, 4])
def test_numbers_that_do_not_grow_are_malformed(again):
    pace = FramePace(0.0)
    pace.admit(5, 0.0)
    with pytest.raises(wire.WireError):
        pace.admit(again, 1.0)
