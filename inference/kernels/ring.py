"""The KV rings of many sessions, bf16 or 8-bit with a scale per token and head.

Defines their layout: pages of slots, taken as sessions grow, and a table that says
which page holds which slots of a row. Which slots are in view is up to attention.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from inference.kernels.pages import Pages
from inference.network.config import TemporalConfig
from inference.network.temporal import Window

log = logging.getLogger(__name__)

KV_FORMATS = ("bf16", "int8")
KV_MAX = 127.0
MIN_SCALE = 2.0**-24  # the smallest number above 0 in fp16
PAGE = 250  # slots, 20 seconds: a window of 3,000 has 12


class Ring(Window):
    """``layers`` [pages, 2, heads, slots of a page, head_dim] each, keys first, and
    ``scales``, without the last; ``table`` int32 [B, pages of a row].

    A row without memory for its next page continues with the window it has by then:
    its ``limit`` is what its pages hold.
    """

    def __init__(
        self,
        config: TemporalConfig,
        batch: int,
        format: str,
        device: torch.device,
        pages: int | None = None,
    ) -> None:
        """``pages``: of all rows together; None: whole windows for all."""
        if format not in KV_FORMATS:
            raise ValueError(f"{format} is none of {', '.join(KV_FORMATS)}")
        super().__init__(config.context, batch, device)
        self.format, self.page = format, min(PAGE, config.context)
        self.pages_of_row = self.pages_for(config.context)
        total = batch * self.pages_of_row if pages is None else pages
        self.pages = Pages(total, batch)
        self.cut = 0  # rows, ever, whose memory ended early
        eight = format == "int8"
        shape = (config.layers, total, 2, config.heads, self.page, config.head_dim)
        kind = torch.int8 if eight else torch.bfloat16
        self._store = torch.zeros(shape, dtype=kind, device=device)
        self._scale = (
            torch.zeros(shape[:-1], dtype=torch.float16, device=device)
            if eight
            else None
        )
        self._stores = (
            [self._store] if self._scale is None else [self._store, self._scale]
        )
        self.layers = list(self._store)
        self.scales: list[Tensor | None] = [None] * config.layers
        if self._scale is not None:
            self.scales = list(self._scale)
        self.table = torch.zeros(
            batch, self.pages_of_row, dtype=torch.int32, device=device
        )

    def pages_for(self, count: int) -> int:
        """That hold the first ``count`` positions."""
        return -(-min(count, self.context) // self.page)

    @property
    def slot_bytes(self) -> int:
        """Of one position of one row."""
        each = [store[:, 0, :, :, 0] for store in self._stores]
        return sum(tensor.numel() * tensor.element_size() for tensor in each)

    def limit_of(self, row: int) -> int:
        """Of the row's window, if its memory doesn't end before."""
        return self._limits[row]

    def begin(self, row: int, promised: int | None = None) -> bool:
        """Start again, with memory for ``promised`` positions, None: for a whole
        window. False, and nothing is done, when there is no room."""
        self.release(row)
        count = self.context if promised is None else promised
        return self.pages.promise(row, max(self.pages_for(count), 1))

    def release(self, row: int) -> None:
        """Nothing of the row is left."""
        self.pages.release(row)
        self.position[row] = 0
        self.limit[row] = self._limits[row] = self.context
        self.pin(row, 0)

    def reserve(self, row: int, count: int) -> None:
        """Before the row writes up to ``count`` positions in all. They fit into its
        pages, or the row gets none any more."""
        held = self.pages.held(row)
        while len(held) < self.pages_for(min(count, self._limits[row])):
            page = self.pages.take(row)
            if page is None:
                self.cut += 1
                self.limit[row] = self._limits[row] = len(held) * self.page
                log.warning("slot %d: no memory beyond %d frames", row, count - 1)
                return
            self.table[row, len(held) - 1] = page

    def write(self, layer: int, row: int, slots: Tensor, kv: Tensor) -> None:
        """Keys and values [2, heads, T, head_dim] of one session."""
        self.store(layer, row, slots, *quantise(kv, self.format))

    def store(
        self, layer: int, row: int, slots: Tensor, data: Tensor, scale: Tensor | None
    ) -> None:
        """As ``write``, of what ``quantise`` made of them."""
        pages, inner = self.table[row][slots // self.page].long(), slots % self.page
        self.layers[layer][pages, :, :, inner] = data.permute(2, 0, 1, 3)
        scales = self.scales[layer]
        if scales is not None and scale is not None:
            scales[pages, :, :, inner] = scale.permute(2, 0, 1)

    def read(self, layer: int, rows: slice, count: int) -> Tensor:
        """The first ``count`` slots, bf16 [2, rows, heads, count, head_dim]."""
        data, scale = self.raw(layer, rows, count)
        if scale is None:
            return data
        return (data.float() * scale.float()[..., None]).to(torch.bfloat16)

    def raw(self, layer: int, rows: slice, count: int) -> tuple[Tensor, Tensor | None]:
        """As they are stored, and their scales if any."""
        slots = self.slots[:count]
        pages, inner = self.table[rows][:, slots // self.page].long(), slots % self.page
        data = self.layers[layer][pages, :, :, inner].permute(2, 0, 3, 1, 4)
        scales = self.scales[layer]
        if scales is None:
            return data, None
        return data, scales[pages, :, :, inner].permute(2, 0, 3, 1)

    def keep(self, row: int, count: int) -> list[Tensor]:
        """A copy of a row's first ``count`` positions, in all layers."""
        pages = self.pages.held(row)[: self.pages_for(count)]
        sizes = [min(self.page, count - n * self.page) for n in range(len(pages))]
        return [
            torch.cat(
                [store[:, p, :, :, :n] for p, n in zip(pages, sizes, strict=True)],
                dim=3,
            )
            for store in self._stores
        ]

    def restore(self, row: int, kept: list[Tensor], count: int) -> None:
        """A row that has written nothing gets what ``keep`` returned."""
        self.reserve(row, count)
        for store, copy in zip(self._stores, kept, strict=True):
            parts = copy.split(self.page, dim=3)
            for page, part in zip(self.pages.held(row), parts, strict=False):
                store[:, page, :, :, : part.shape[3]].copy_(part)
        self.position[row] = count


def quantise(kv: Tensor, format: str) -> tuple[Tensor, Tensor | None]:
    """[..., head_dim] to what is stored of it, and its scale fp16 [...]."""
    if format == "bf16":
        return kv.to(torch.bfloat16), None
    wide = kv.float()
    scale = (wide.abs().amax(dim=-1) / KV_MAX).clamp_(min=MIN_SCALE)
    scale = scale.to(torch.float16)
    data = torch.floor(wide / scale.float()[..., None] + 0.5).clamp_(-KV_MAX, KV_MAX)
    return data.to(torch.int8), scale
