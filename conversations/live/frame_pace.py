"""The rate limit of a browser's frames, and the count of those that never came."""

from __future__ import annotations

from conversations.live.wire import TooFast, WireError
from inference.timing import FRAME_RATE


class FramePace:
    """Refuses more frames than real time allows.

    Two bounds, both counted from ``ready``. The sequence numbers may not run ahead of
    the clock by more than BURST_FRAMES: a browser counts a frame when 80 ms of
    microphone have passed. And messages may come in a burst only to make up for
    silence before it: credit grows with the clock up to CATCH_UP_FRAMES, so that a
    stalled network may deliver late what it held back, but not half an hour of it.

    A conversation that is resumed continues after ``last_seq``, which came ``silent_s``
    ago.
    """

    BURST_FRAMES = 25  # 2 s
    CATCH_UP_FRAMES = 125  # 10 s
    DRIFT = 1.01  # a microphone's clock is never this wrong
    SLACK_S = 10.0  # but the clocks of two web processes may be

    def __init__(self, now: float, last_seq: int = -1, silent_s: float = 0.0) -> None:
        self._start = self._last = now
        self._credit = float(self.BURST_FRAMES)
        self._last_seq = last_seq
        self._first_seq: int | None = None
        if last_seq >= 0:
            self._start = now - silent_s - self.SLACK_S
            self._first_seq = last_seq
        self.missing = 0

    @property
    def next_seq(self) -> int:
        return self._last_seq + 1

    def admit(self, seq: int, now: float) -> int:
        """How many frames are missing before this one; raises for what is not ours."""
        if self._first_seq is None:
            self._first_seq, self._last_seq = seq, seq - 1
        if seq <= self._last_seq:
            raise WireError(f"frame {seq} after {self._last_seq}")
        rate = FRAME_RATE * self.DRIFT
        ahead = seq - self._first_seq - (now - self._start) * rate
        earned = (now - self._last) * rate
        self._credit = min(self._credit + earned, self.CATCH_UP_FRAMES) - 1
        self._last = now
        if ahead > self.BURST_FRAMES or self._credit < 0:
            raise TooFast(f"frame {seq}: {ahead:.0f} ahead, {self._credit:.0f} credit")
        gap = seq - self._last_seq - 1
        self._last_seq = seq
        self.missing += gap
        return gap

    def inherit(self, seq: int) -> None:
        """A frame turned up that another process had received."""
        if seq > self._last_seq:
            self.missing += seq - self._last_seq - 1
            self._last_seq = seq
        else:
            self.missing = max(0, self.missing - 1)
