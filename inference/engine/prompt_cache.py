"""Keys and values of persona prompts that were prefilled before.

Enforces the memory bound and evicts entries. What it keeps are tensors of one engine,
so a key names the prompt only, not the model. Must not depend on sessions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

from inference.engine.api import PromptCacheStats

Kept = list[Tensor]  # of each layer; what a batch's ``keep`` returns


class PromptCache:
    """The least recently used go first. Not thread-safe: the engine's thread only."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = self._hits = self._misses = self._evicted = 0

    def get(self, key: str) -> Kept | None:
        kept = self._entries.get(key)
        if kept is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(key)
        return kept

    def add(self, key: str, size: int, copy: Callable[[], Kept]) -> None:
        """``copy`` makes the entry of ``size`` bytes, once there is room for it; what
        can never fit is not copied at all."""
        if size > self._limit or key in self._entries:
            return
        while self._bytes + size > self._limit:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= _bytes(oldest)
            self._evicted += 1
        self._entries[key] = kept = copy()
        self._bytes += _bytes(kept)

    def clear(self) -> None:
        """Forget everything, the counters too."""
        self._entries.clear()
        self._bytes = self._hits = self._misses = self._evicted = 0

    def stats(self) -> PromptCacheStats:
        return PromptCacheStats(
            hits=self._hits,
            misses=self._misses,
            evicted=self._evicted,
            entries=len(self._entries),
            bytes=self._bytes,
            limit_bytes=self._limit,
        )


def _bytes(kept: Kept) -> int:
    return sum(part.numel() * part.element_size() for part in kept)
