"""A step captured as CUDA graphs, one for each of a few sizes.

Chooses the sizes and captures them. Must not depend on what a step computes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

log = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 128)
WARM_UPS = 2  # runs before a capture: kernels compile, libraries choose theirs


def sizes_for(slots: int) -> list[int]:
    return [size for size in SIZES if size < slots] + [slots]


def capture(step: Callable[[], object], pool: Any) -> torch.cuda.CUDAGraph:
    """``step`` is run a few times first, so it must not change what matters."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        step()
    return graph


class StepGraphs:
    """``step(n)`` works on the first n slots. The largest size comes first, so that
    the smaller ones fit into the memory it took."""

    def __init__(self, step: Callable[[int], None], sizes: list[int]) -> None:
        self.sizes = sorted(sizes)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        pool = torch.cuda.graph_pool_handle()
        before = torch.cuda.mem_get_info()[0]
        for size in reversed(self.sizes):
            self._graphs[size] = capture(partial(step, size), pool)
        taken = (before - torch.cuda.mem_get_info()[0]) / 2**20
        log.info("graphs of %s sessions take %.0f MiB", self.sizes, taken)

    def replay(self, needed: int) -> int:
        """Launch the smallest that holds ``needed`` slots; its size."""
        size = next(size for size in self.sizes if size >= needed)
        self._graphs[size].replay()
        return size
