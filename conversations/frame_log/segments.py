"""Where the counts of frames meet: the log's, the model's and the browser's.

The log only grows: it is the record of what was said. The model may be taken back to an
earlier frame (rewind) or lack some (the log had a hole when it was rebuilt), so what it
has behind it is a list of ranges of log frames, the last of them open, while it counts
its own frames without holes: ``LogSegments`` is where those two meet.

The browser numbers the frames of its microphone. A frame of the log stands in time
where the user frame stands that it answers, so frames that were lost keep their time:
``FrameTimes`` turns such a number into seconds. The answer's sound and text follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from inference.timing import FRAME_SECONDS

Side = Literal["user", "agent"]
Ranges = tuple[tuple[int, int], ...]  # [start, end) of log frames


@dataclass(frozen=True)
class LogSegments:
    """What the model has behind it, in frames of the log."""

    closed: Ranges = ()
    start: int = 0  # of the open range

    @classmethod
    def parse(cls, stored: Sequence[Sequence[int | None]]) -> LogSegments:
        """Read ``Conversation.log_segments``; empty: it was never rewound."""
        if not stored:
            return cls()
        *closed, (start, _) = stored
        return cls(
            tuple((int(a or 0), int(b or 0)) for a, b in closed), int(start or 0)
        )

    def dump(self) -> list[list[int | None]]:
        ranges: list[list[int | None]] = [[start, end] for start, end in self.closed]
        return [*ranges, [self.start, None]]

    @property
    def _before(self) -> int:
        return sum(end - start for start, end in self.closed)

    def model_frame(self, log_frame: int) -> int:
        """The model's number of a log frame in the open range."""
        return self._before + log_frame - self.start

    def until(self, end: int) -> Ranges:
        """All of it, with the log ending before frame ``end``."""
        return (*self.closed, (self.start, end)) if end > self.start else self.closed

    def rewound_to(self, model_frame: int, end: int) -> LogSegments:
        """Rewound: the model keeps its first frames, the log continues at ``end``."""
        kept, left = [], model_frame
        for start, stop in self.until(end):
            taken = min(stop - start, left)
            if taken > 0:
                kept.append((start, start + taken))
            left -= taken
        return LogSegments(tuple(kept), end)

    @classmethod
    def of_frames(cls, frames: Iterable[int], end: int) -> LogSegments:
        """Of exactly these log frames, ascending; the log continues at ``end``."""
        ranges: list[tuple[int, int]] = []
        for frame in frames:
            if ranges and ranges[-1][1] == frame:
                ranges[-1] = (ranges[-1][0], frame + 1)
            else:
                ranges.append((frame, frame + 1))
        if ranges and ranges[-1][1] == end:
            return cls(tuple(ranges[:-1]), ranges[-1][0])
        return cls(tuple(ranges), end)


@dataclass(frozen=True)
class FrameTimes:
    """Which user frame comes first, and how many there is time for until the last."""

    first_seq: int = 0
    slots: int = 0

    @property
    def seconds(self) -> float:
        return round(self.slots * FRAME_SECONDS, 2)

    @property
    def sound_slots(self) -> int:
        """For the sound of both sides: the answer to a frame is heard after it, so the
        last answer takes a slot more."""
        return self.slots + 1 if self.slots else 0

    def at(self, seq: int) -> float:
        """Where a user frame begins, in seconds."""
        return round((seq - self.first_seq) * FRAME_SECONDS, 2)

    def slot(self, seq: int, side: Side = "user") -> int | None:
        """Of a user frame, or of the agent's answer to it. None outside of the
        conversation: only a damaged log has such a number."""
        slot = seq - self.first_seq
        if not 0 <= slot < self.slots:
            return None
        return slot + 1 if side == "agent" else slot
