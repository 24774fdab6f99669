"""Counters of the model thread, and percentiles over its last few thousand ticks.

Written by the model thread only; a reader gets a copy. Must not depend on an engine.
"""

from __future__ import annotations

from collections import deque

from inference.engine.api import EngineStats, MemoryStats, PromptCacheStats
from inference.timing import FRAME_MS

KEPT_TICKS = 4096  # at one session about five minutes
NEWEST_TICKS = 256  # at most 20 seconds: decides whether another session is taken


class TickStats:
    def __init__(self) -> None:
        self.frames = 0
        self.late_frames = 0
        self.dropped_frames = 0
        self.prompt_cache = PromptCacheStats()
        self.memory = MemoryStats()
        self._ticks = 0
        self._last_ms: deque[float] = deque(maxlen=KEPT_TICKS)

    def count_tick(self, ms: float) -> None:
        self._ticks += 1
        self._last_ms.append(ms)

    def newest_p99(self) -> float:
        """Milliseconds; 0 before the first tick."""
        newest = list(self._last_ms)[-NEWEST_TICKS:]
        return percentile(sorted(newest), 0.99)

    def snapshot(self, sessions: int) -> EngineStats:
        last = sorted(self._last_ms.copy())
        return EngineStats(
            sessions=sessions,
            ticks=self._ticks,
            frames=self.frames,
            late_frames=self.late_frames,
            dropped_frames=self.dropped_frames,
            tick_p50_ms=percentile(last, 0.50),
            tick_p99_ms=percentile(last, 0.99),
            prompt_cache=self.prompt_cache,
            memory=self.memory,
            headroom_ms=FRAME_MS - self.newest_p99(),
        )


def percentile(ordered: list[float], share: float) -> float:
    """Linear between the two nearest values, as numpy's and so as a conversation's; 0
    of none. (numpy's own takes five times as long for so few.)"""
    if not ordered:
        return 0.0
    rank = share * (len(ordered) - 1)
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (rank - below) * (ordered[above] - ordered[below])
