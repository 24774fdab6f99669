"""The state of streams between two calls: fixed tensors, one row per session.

Must not depend on what the layers compute. No Python branch here depends on a tensor's
values, so a step can be captured in a CUDA graph.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

ALIGN = 64  # floats; keeps every view on a cache line and fit for vector loads


class StreamingLayer(nn.Module):
    """A layer that carries something from one call to the next.

    The codec gives each one its ``key``, the module's own dotted name.
    """

    key: str = ""

    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape, without the batch, of each tensor this layer carries."""
        raise NotImplementedError


class StreamState:
    """State of one codec half for a batch of streams.

    All zeros is the state before the first call, so a reset is a fill. One row of
    ``buffer`` and ``position`` is all there is to know about one stream.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], batch: int, device: torch.device
    ) -> None:
        sizes = {key: math.prod(shape) for key, shape in shapes.items()}
        padded = {key: -(-size // ALIGN) * ALIGN for key, size in sizes.items()}
        self.batch = batch
        self.buffer = torch.zeros(batch, sum(padded.values()), device=device)
        # Transformer positions written so far, [B].
        self.position = torch.zeros(batch, dtype=torch.int64, device=device)
        self._views: dict[str, Tensor] = {}
        start = 0
        for key, shape in shapes.items():
            view = self.buffer[:, start : start + sizes[key]]
            self._views[key] = view.view(batch, *shape)
            start += padded[key]

    def __getitem__(self, key: str) -> Tensor:
        return self._views[key]

    def first(self, count: int) -> StreamState:
        """The first rows of this state: the same memory, for a smaller step."""
        part = copy.copy(self)
        part.batch = count
        part.buffer, part.position = self.buffer[:count], self.position[:count]
        part._views = {key: view[:count] for key, view in self._views.items()}
        return part

    def copy_stream(self, row: int, other: StreamState) -> None:
        """Put the first stream of ``other``, of the same codec half, into this row."""
        self.buffer[row].copy_(other.buffer[0])
        self.position[row].copy_(other.position[0])

    def reset(self, rows: Sequence[int] | Tensor | None = None) -> None:
        """Reset these rows and leave the others as they are. None means all rows.

        ``rows`` are indices or a bool mask of [B].
        """
        if rows is None:
            self.buffer.zero_()
            self.position.zero_()
            return
        index = torch.as_tensor(rows, device=self.buffer.device)
        if index.dtype == torch.bool:
            # Filled, not multiplied: what a broken stream left may be NaN.
            self.buffer.masked_fill_(index[:, None], 0)
            self.position.masked_fill_(index, 0)
        else:
            index = index.to(torch.int64)
            self.buffer.index_fill_(0, index, 0)
            self.position.index_fill_(0, index, 0)


class Step:
    """One streaming call: the state and which rows of it may change."""

    def __init__(self, state: StreamState, active: Tensor | None) -> None:
        self.state = state
        self.active = active  # bool [B]; None: every row
        self.first = (state.position == 0)[:, None, None]

    def merge(self, new: Tensor, old: Tensor) -> Tensor:
        """``new`` in active rows, ``old`` in the others."""
        if self.active is None:
            return new
        return torch.where(self.active.view(-1, *[1] * (new.dim() - 1)), new, old)

    def carry(self, key: str) -> Tensor:
        return self.state[key]

    def keep(self, key: str, new: Tensor) -> None:
        old = self.state[key]
        old.copy_(self.merge(new, old))

    def advance(self, positions: int) -> None:
        if self.active is None:
            self.state.position.add_(positions)
        else:
            self.state.position.add_(self.active, alpha=positions)
