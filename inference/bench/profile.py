"""Where the time of each part of a tick goes, kernel by kernel, as CUPTI saw it.

Kernels are launched early and wait inside, so a kernel's own duration says little. Each
is charged with the time from the end of the one before it to its own end.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

REPLAYS = 5
GAP_US = 8.0


def kernel_shares(graph: torch.cuda.CUDAGraph) -> list[dict[str, Any]]:
    """Of one replay, by kernel name: how many, and microseconds; the longest first."""
    graph.replay()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(REPLAYS):
            graph.replay()
            torch.cuda.synchronize()
    return shares(
        [
            (event.name, event.time_range.start, event.time_range.end)
            for event in profiler.events()
            if event.device_type == torch.autograd.DeviceType.CUDA
        ],
        REPLAYS,
    )


def shares(
    events: list[tuple[str, float, float]], replays: int
) -> list[dict[str, Any]]:
    """``events``: name, beginning and end, µs. Gaps before an event are its own, but
    for those between replays, which are longer than GAP_US."""
    counts: defaultdict[str, int] = defaultdict(int)
    times: defaultdict[str, float] = defaultdict(float)
    before = None
    for name, start, end in sorted(events, key=lambda event: event[2]):
        since = start if before is None or start - before > GAP_US else before
        counts[name] += 1
        times[name] += max(end - since, 0.0)
        before = end
    ordered = sorted(times, key=lambda name: -times[name])
    return [
        {
            "kernel": name,
            "count": counts[name] / replays,
            "us": round(times[name] / replays, 1),
        }
        for name in ordered
    ]
