"""Frames to rows: delays, start tokens, and the frame that is never read."""

import torch

from inference.network.config import FREE
from inference.network.timeline import (
    make_frames,
    ring_of_frames,
    ring_row,
    rows_of_frames,
    start_row,
)
from tests.inference.toys import toy_config

CONFIG = toy_config()
DELAYED = [2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16]


def numbered(count):
    """Frame f holds the number f everywhere."""
    return torch.arange(count)[:, None].expand(count, 17).contiguous()


def test_row_p_holds_frame_p_or_of_delayed_streams_the_one_before():
    rows, carry = rows_of_frames(CONFIG, numbered(6))
    assert rows[0].tolist() == start_row(CONFIG).tolist()
    for p in range(2, 6):
        expected = [p - 1 if k in DELAYED else p for k in range(17)]
        assert rows[p].tolist() == expected
    assert carry.tolist() == [5 if k in DELAYED else FREE for k in range(17)]


def test_nothing_of_the_first_frame_is_read():
    frames = numbered(5)
    other = frames.clone()
    other[0] = 31
    for count in (1, 2, 5):
        a, b = (
            rows_of_frames(CONFIG, frames[:count]),
            rows_of_frames(CONFIG, other[:count]),
        )
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


def test_the_ring_gives_back_the_last_row():
    for count in range(2, 15):
        frames = numbered(count)
        rows, carry = rows_of_frames(CONFIG, frames)
        row, forced = ring_row(CONFIG, ring_of_frames(CONFIG, frames), count)
        assert torch.equal(row, rows[-1])
        assert torch.equal(forced, carry)


def test_frames_are_made_of_text_agent_and_user():
    frames = make_frames(
        3, text=torch.tensor([7, 8, 9]), agent=torch.arange(8), user=torch.ones(3, 8)
    )
    assert frames[:, 0].tolist() == [7, 8, 9]
    assert frames[1, 1:9].tolist() == list(range(8))
    assert frames[2, 9:].tolist() == [1] * 8
