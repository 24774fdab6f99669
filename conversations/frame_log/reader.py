"""The one reader of a stored frame log.

``load`` reads the columns that it is asked for, together, by one query, and keeps them:
each is read at most once in a reader's life, which is one request or task. The sound is
not kept: ``packets`` streams one side of it, some ROWS_AT_ONCE chunks at a time.

What is read is bounded, so that no conversation takes the memory of a process. Four
hours are 180,000 frames: 9,000 rows of 20 frames, 6.5 MB of timings, 6.1 MB of tokens,
60 to 120 MB of sound a side. Beyond MAX_FRAMES frames or places in time, or
``MAX_FRAME_LOG_MB`` of columns in one reader, FrameLogTooLong is raised before more is
read.

Everything here is blocking. It knows rows by the conversation's ``chunks`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from django.conf import settings
from django.db.models import QuerySet, Subquery
from django.db.models.functions import Coalesce
from numpy.typing import NDArray

from conversations.frame_log.format import (
    FrameLogError,
    FrameLogTooLong,
    unpack_agent_packets,
    unpack_timings,
    unpack_tokens,
    unpack_user_packets,
)
from conversations.frame_log.segments import FrameTimes, Side

if TYPE_CHECKING:
    from conversations.models import Conversation
    from conversations.models.frame_chunk import FrameChunk

Column = Literal["tokens", "timings", "pieces", "client_stats"]
ClientReading = dict[str, float | bool]

# 4.4 hours: the longest conversation (CONVERSATION_MAX_SECONDS) is four, and the clock
# of a microphone may run fast.
MAX_FRAMES = 200_000
ROWS_AT_ONCE = 200  # with both sides of 20 frames each: 4 MB


class FrameLogReader:
    """Reads the log of one conversation, in the order of its frames."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self._chunks = conversation.chunks.order_by("first_frame", "frames", "id")
        self._loaded: dict[Column, Any] = {}
        self._frames = np.empty(0, np.int64)
        self._end = self._bytes = 0

    def load(self, *columns: Column) -> None:
        """Read these together. A column that was not loaded is read when it is used."""
        missing = [column for column in columns if column not in self._loaded]
        if not missing:
            return
        rows = list(self._rows(self._chunks, *missing))
        for place, column in enumerate(missing, 2):
            self._loaded[column] = _JOINED[column]([row[place] for row in rows])
        if "timings" in missing:
            self._number([(row[0], row[1]) for row in rows])

    def _number(self, chunks: list[tuple[int, int]]) -> None:
        """Number the frames of these chunks: first frame and how many."""
        numbers = [np.arange(first, first + frames) for first, frames in chunks]
        self._frames = np.concatenate([self._frames, *numbers])
        self._end = max((first + frames for first, frames in chunks), default=0)
        if len(self._frames) != len(self._loaded["timings"]):
            raise FrameLogError(f"{self.conversation.pk} has frames without timings")

    # --- columns that are kept

    @property
    def end(self) -> int:
        """The number of the frame that would come next."""
        self.load("timings")
        return self._end

    @property
    def frames(self) -> NDArray[np.int64]:
        """The numbers of all frames, ascending; a number that is missing is a hole."""
        self.load("timings")
        return self._frames

    @property
    def timings(self) -> NDArray[np.void]:
        """TIMING [frames]."""
        self.load("timings")
        timings: NDArray[np.void] = self._loaded["timings"]
        return timings

    @property
    def tokens(self) -> NDArray[np.uint16]:
        """uint16 [frames, 17]. Load it with the timings: only then both surely have the
        same frames, for the log of a live conversation grows."""
        self.load("tokens")
        tokens: NDArray[np.uint16] = self._loaded["tokens"]
        return tokens

    @property
    def pieces(self) -> list[tuple[int, str]]:
        """The frames that spoke text, and what."""
        self.load("pieces")
        pieces: list[tuple[int, str]] = self._loaded["pieces"]
        return pieces

    @property
    def client_stats(self) -> list[tuple[int, ClientReading]]:
        """What the browser measured, and the frame that was the next one then."""
        self.load("client_stats")
        stats: list[tuple[int, ClientReading]] = self._loaded["client_stats"]
        return stats

    # --- time

    @cached_property
    def times(self) -> FrameTimes:
        """Every user frame of the log, answered or only received, lies in it."""
        columns = self._chunks.values_list("timings", "user_packets")
        # The outermost chunks: those around them may be packets without frames.
        outermost = columns[:2].union(columns.reverse()[:2], all=True)
        seqs: list[int] = []
        for timings, packets in outermost:
            seqs += unpack_timings(bytes(timings))["seq"].tolist()
            seqs += [user.seq for user in unpack_user_packets(bytes(packets))]
        if not seqs:
            return FrameTimes()
        slots = max(seqs) - min(seqs) + 1
        if slots > MAX_FRAMES:
            raise self._too_long(f"{slots} frames of time")
        return FrameTimes(min(seqs), slots)

    def seconds_at(self, frames: Sequence[int]) -> list[float]:
        """Where frames stand in time, or the newest before each; 0 before the first."""
        before = np.searchsorted(self.frames, frames, side="right") - 1
        seqs = np.append(self.timings["seq"], self.times.first_seq)  # for place -1
        return [self.times.at(seq) for seq in seqs[before].tolist()]

    # --- the sound, which is not kept

    def packets(self, side: Side, from_frame: int = 0) -> Iterator[tuple[int, bytes]]:
        """Each Opus packet and the number of its user frame, or of the one it answers;
        from the chunk on that has ``from_frame`` in it."""
        chunks = self._chunks
        if from_frame > 0:
            before = self._chunks.filter(first_frame__lte=from_frame, frames__gt=0)
            newest = before.order_by("-first_frame").values("first_frame")[:1]
            chunks = chunks.filter(first_frame__gte=Coalesce(Subquery(newest), 0))
        if side == "user":
            for *_, column in self._rows(chunks, "user_packets"):
                for user in unpack_user_packets(bytes(column)):
                    yield user.seq, user.packet
            return
        for *_, timings, column in self._rows(chunks, "timings", "agent_packets"):
            seqs = unpack_timings(bytes(timings))["seq"].tolist()
            yield from zip(seqs, unpack_agent_packets(bytes(column)), strict=True)

    # --- rows

    def _rows(
        self, chunks: QuerySet[FrameChunk], *columns: str
    ) -> Iterator[tuple[Any, ...]]:
        """First frame, frames and these columns of each chunk, by one query."""
        frames = 0
        rows = chunks.values_list("first_frame", "frames", *columns)
        for row in rows.iterator(ROWS_AT_ONCE):
            frames += max(1, row[1])
            self._bytes += sum(len(v) for v in row if isinstance(v, bytes | memoryview))
            if frames > MAX_FRAMES:
                raise self._too_long(f"more than {MAX_FRAMES} frames")
            if self._bytes > settings.MAX_FRAME_LOG_MB * 1_000_000:
                raise self._too_long(f"more than {settings.MAX_FRAME_LOG_MB} MB")
            yield row

    def _too_long(self, what: str) -> FrameLogTooLong:
        return FrameLogTooLong(f"the log of {self.conversation.pk} has {what}")


def _joined(values: list[list[list[Any]]]) -> list[tuple[Any, ...]]:
    return [tuple(entry) for value in values for entry in value]


_JOINED: dict[Column, Callable[[list[Any]], Any]] = {
    "tokens": lambda values: np.concatenate(
        [unpack_tokens(b""), *(unpack_tokens(bytes(value)) for value in values)]
    ),
    "timings": lambda values: np.concatenate(
        [unpack_timings(b""), *(unpack_timings(bytes(value)) for value in values)]
    ),
    "pieces": _joined,
    "client_stats": _joined,
}
