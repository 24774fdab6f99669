"""The 17-stream timeline: frames to rows of tokens, by each stream's delay (spec 8.1).

A *frame* holds what belongs to 80 ms of sound; *row* p holds what the network reads
at position p: of a stream with delay d the token of frame p - d. Must not depend on
anything but tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.network.config import AGENT, FREE, TEXT, USER, ModelConfig
from inference.timing import STREAMS


def start_row(config: ModelConfig) -> Tensor:
    """Start tokens of all streams, int64 [17]."""
    row = torch.full((STREAMS,), config.audio_start)
    row[TEXT] = config.text_start
    return row


def rows_of_frames(config: ModelConfig, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Fully provided frames [F, 17] to rows 0..F-1 [F, 17], and what they force of
    row F [17] (FREE where a stream has no delay).

    Streams begin with start tokens up to position = delay, so that nothing of frame 0
    is ever read.
    """
    count = frames.shape[0]
    delays = torch.tensor(config.delays)
    position = torch.arange(count + 1)[:, None]
    source = (position - delays).clamp(0, max(count - 1, 0))
    rows = torch.where(position <= delays, start_row(config), frames.gather(0, source))
    carry = torch.where(delays > 0, rows[count], FREE)
    return rows[:count], carry


def rows_after(
    config: ModelConfig, carry: Tensor, record: Tensor
) -> tuple[Tensor, Tensor]:
    """Of n steps that began with ``carry`` [17] forced and recorded [n, 17], what they
    completed and the user codes they consumed: the n rows, and what is forced of the
    row after them."""
    late_user = torch.tensor(config.delays) > 0
    late_user[: USER.start] = False
    before = torch.cat((carry[None], record))
    rows = torch.where(late_user, before[:-1], record)
    return rows, torch.where(late_user, before[-1], FREE)


def codes_after(config: ModelConfig, row: Tensor, record: Tensor) -> Tensor:
    """Of n steps that began with ``row`` complete: the agent codes [n, 8] of the frames
    that they completed, each one behind its step."""
    before = torch.cat((row[None], record))[:-1]
    delayed = torch.tensor(config.delays) > 0
    return torch.where(delayed, record, before)[:, AGENT]


def ring_of_frames(config: ModelConfig, frames: Tensor) -> Tensor:
    """The reference's token ring after fully provided frames [F, 17] were stepped,
    int64 [17, 4] (spec 8.2): what a voice prompt file keeps of its frames."""
    columns = max(config.delays) + 3
    ring = torch.full((STREAMS, columns), -2)
    start = start_row(config)
    for n, frame in enumerate(frames):
        for stream, delay in enumerate(config.delays):
            ring[stream, (n + delay) % columns] = frame[stream]
            if n <= delay:
                ring[stream, n % columns] = start[stream]
    return ring


def ring_row(config: ModelConfig, ring: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """From the ring after ``frames`` frames: row frames-1 [17] and what is forced of
    the next row [17]."""
    columns = ring.shape[1]
    delayed = torch.tensor(config.delays) > 0
    carry = torch.where(delayed, ring[:, frames % columns], FREE)
    return ring[:, (frames - 1) % columns], carry


def make_frames(
    count: int, *, text: Tensor | int, agent: Tensor, user: Tensor
) -> Tensor:
    """Frames [count, 17] from text (one or [count]) and codes ([8] or [count, 8])."""
    frames = torch.empty(count, STREAMS, dtype=torch.int64)
    frames[:, TEXT] = torch.as_tensor(text)
    frames[:, AGENT] = agent
    frames[:, USER] = user
    return frames
