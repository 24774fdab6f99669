"""What this GPU can do at best, and how long captured work takes on it.

Must not depend on what it times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch

from inference import cards
from inference.engine import stats
from inference.engine.gpu.capacity import Card, published
from inference.engine.gpu.cuda_graphs import capture

PROBE_BYTES = 2**32  # far beyond any cache
REPEATS = 20


def read_bandwidth(device: torch.device) -> float:
    """Bytes a second of reading, fp32 summed up; the best of a few."""
    free = cards.memory(device.index or 0)[0]
    count = min(PROBE_BYTES, free // 2) // 4
    probe = torch.empty(count, dtype=torch.float32, device=device).normal_()
    times = timed(lambda: probe.sum(), REPEATS)
    return 4 * count / (min(times) / 1000)


def launch_cost(device: torch.device) -> float:
    """Microseconds from one small kernel of a graph to the next."""
    x = torch.zeros(256, device=device)

    def chain() -> None:
        for _ in range(500):
            x.add_(1)

    graph = capture(chain, None)
    return median(timed(graph.replay, REPEATS)) * 1000 / 500


def measured_card(device: torch.device) -> Card:
    """``memory``: what is free of it. Takes some seconds. A pretended card is as fast
    as published: how fast this one is, is no matter."""
    torch.cuda.set_device(device)
    index = torch.cuda.current_device()
    if pretended := cards.pretended():
        free = cards.memory(index)[0]
        return replace(published(pretended), memory=float(free))
    card = Card(
        torch.cuda.get_device_name(device),
        read_bandwidth(device),
        0.0,
        launch_cost(device),
    )
    torch.cuda.empty_cache()  # what was measured with
    return replace(card, memory=float(cards.memory(index)[0]))


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds on the device, each run by itself, after warm-up."""
    for _ in range(3):
        work()
    events = [
        [torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)
    ]
    for began, ended in events:
        began.record()
        work()
        ended.record()
    torch.cuda.synchronize()
    return [began.elapsed_time(ended) for began, ended in events]


def wall_times(
    work: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Milliseconds by the clock, and of this thread's own work, of each run."""
    walls, owns = [], []
    for _ in range(repeats):
        own, wall = time.thread_time(), time.perf_counter()
        work()
        walls.append(1000 * (time.perf_counter() - wall))
        owns.append(1000 * (time.thread_time() - own))
    return walls, owns


def percentile(values: list[float], share: float) -> float:
    return stats.percentile(sorted(values), share)
