"""What the page measured of itself, once a second: checked, and not too often.

A value that is no number is left out, one out of range is moved into it: nothing is
decided by these figures, they are kept for people to look at.
"""

from __future__ import annotations

import time
from typing import Any

from conversations.live import wire

_MS = 60_000.0
_COUNT = 1e9
RANGES: dict[str, float] = {  # 0 … the value
    "latency_ms": _MS,
    "buffer_ms": _MS,
    "jitter_ms": _MS,
    "underruns": _COUNT,
    "skipped_ms": _COUNT,
    "stretched_ms": _COUNT,
    "dropped": _COUNT,
    "late": _COUNT,
    "echo": 1.0,
}
FLAGS = ("muted", "hidden")
EVERY_SECONDS = 0.5  # a page that sends more often is not kept more often


class ClientStats:
    def __init__(self) -> None:
        self.refused = 0
        self._next_at = 0.0

    def take(self, fields: dict[str, Any]) -> dict[str, float | bool] | None:
        """The reading that is kept; None: it came too soon after the one before, or
        there is nothing in it."""
        now = time.monotonic()
        if now < self._next_at:
            self.refused += 1
            return None
        self._next_at = now + EVERY_SECONDS
        kept: dict[str, float | bool] = {
            name: round(min(max(float(fields[name]), 0.0), most), 2)
            for name, most in RANGES.items()
            if wire.is_number(fields.get(name))
        }
        kept |= {name: True for name in FLAGS if fields.get(name) is True}
        return kept or None
