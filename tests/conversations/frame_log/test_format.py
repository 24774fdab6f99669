"""The columns of the frame log come back as they went in, or not at all."""

import numpy as np
import pytest

from conversations.frame_log import format as frames
from conversations.frame_log.format import FrameLogError, UserPacket


def test_tokens_come_back():
    rows = [np.arange(17, dtype=np.uint16) + 2048 * n for n in range(3)]
    back = frames.unpack_tokens(frames.pack_tokens(rows))
    assert back.dtype == np.uint16
    assert np.array_equal(back, np.stack(rows))


def test_agent_packets_come_back():
    packets = [b"a", b"", b"x" * 4000]
    assert frames.unpack_agent_packets(frames.pack_agent_packets(packets)) == packets


def test_user_packets_come_back_with_their_numbers_and_flags():
    packets = [UserPacket(0, 0, b"a"), UserPacket(2**32 - 1, frames.MUTED, b"bc")]
    assert frames.unpack_user_packets(frames.pack_user_packets(packets)) == packets


def test_timings_come_back():
    row = tuple(range(1, 12))
    back = frames.unpack_timings(frames.pack_timings([row, row]))
    assert back.shape == (2,)
    assert back[1].item() == row
    assert back["path_us"][0] == 11


def test_nothing_is_nothing():
    assert frames.unpack_tokens(b"").shape == (0, 17)
    assert frames.unpack_agent_packets(b"") == []
    assert frames.unpack_user_packets(b"") == []
    assert len(frames.unpack_timings(b"")) == 0


@pytest.mark.parametrize("cut", [1, 2, 5, 8])
def test_it_refuses_a_column_that_breaks_off(cut):
    user = frames.pack_user_packets([UserPacket(1, 0, b"abcd")])
    agent = frames.pack_agent_packets([b"abcdefgh"])
    for unpack, data in (
        (frames.unpack_user_packets, user[:-cut]),
        (frames.unpack_agent_packets, agent[:-cut]),
        (frames.unpack_tokens, bytes(34 - cut)),
        (frames.unpack_timings, bytes(frames.TIMING.itemsize - cut)),
    ):
        with pytest.raises(FrameLogError):
            unpack(data)


def test_a_chunk_of_two_seconds_is_about_fifteen_kilobytes():
    """25 frames of 32 kbit/s on both sides."""
    packet = bytes(320)
    size = (
        len(frames.pack_tokens([np.zeros(17, np.uint16)] * 25))
        + len(frames.pack_agent_packets([packet] * 25))
        + len(frames.pack_user_packets([UserPacket(0, 0, packet)] * 25))
        + 25 * frames.TIMING.itemsize
    )
    assert size < 18_000


@pytest.mark.parametrize(("value", "stored"), [(-1, 0), (70_000.9, 65_535), (1.9, 1)])
def test_measured_times_saturate(value, stored):
    assert frames.saturate(value, 16) == stored
