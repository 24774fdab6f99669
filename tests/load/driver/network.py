"""A bad network between one browser and the site, as far as TCP lets it be felt.

Delays both directions. TCP loses nothing: a lost packet comes again after a
retransmission timeout, and everything behind it waits for it. So loss is a delay here.
``tests/load/netem.py`` loses real packets; this runs without any rights.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

# Of a sparse stream in a local network: the least retransmission timeout of Linux, and
# a little for the way. Fast retransmission needs three later packets; we send one each
# 80 ms.
RETRANSMIT_SECONDS = 0.22


@dataclass(frozen=True)
class Faults:
    stall_at: float = 0.0  # seconds after everything was live
    stall_seconds: float = 0.0
    loss: float = 0.0  # share of packets, each way


class Held:
    """What waits in one direction. Nothing overtakes anything."""

    def __init__(self, loss: float, deliver: Callable[[bytes], None]) -> None:
        self._loss = loss
        self._deliver = deliver
        self._waiting: deque[bytes] = deque()
        self._until = 0.0  # the loop's time
        self._loop = asyncio.get_running_loop()

    def put(self, message: bytes) -> None:
        if self._loss and random.random() < self._loss:
            self.hold(RETRANSMIT_SECONDS)
        if self._waiting or self._loop.time() < self._until:
            self._waiting.append(message)
        else:
            self._deliver(message)

    def hold(self, seconds: float) -> None:
        until = self._loop.time() + seconds
        if until > self._until:
            self._until = until
            self._loop.call_at(until, self._release)

    def clear(self) -> None:
        """The connection is gone, and what was on its way with it."""
        self._waiting.clear()

    def _release(self) -> None:
        if self._loop.time() < self._until:  # held again meanwhile
            return
        while self._waiting:
            self._deliver(self._waiting.popleft())
