"""The frame log of one live conversation, on its way to the database.

Frames fill a chunk, full chunks wait to be written, and while there are none a
heartbeat says that the conversation is alive. Nothing here waits on the audio path:
``add_user`` and ``add_frame`` only append, and ``run`` writes one chunk at a time in a
thread. A chunk is CHUNK_FRAMES frames, and so that is what a ``kill -9`` can cost.

While the database is away chunks wait, BACKLOG_CHUNKS at most (about 1 MB); beyond that
the oldest goes, counted in ``unwritten``: the log then has a hole there, and
``Conversation.unwritten_frames`` says so.

Once another process has taken the conversation over, Superseded comes from ``run``,
``flush`` and ``close``, and no frame of ours is written any more: the worker sends the
other process every frame that was not in the log by then. The user's packets it does
not have, so ``hand_over`` adds those.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings
from django.db import DataError, IntegrityError
from django.db.utils import Error as DatabaseProblem
from numpy.typing import NDArray

from conversations.errors import ConversationGone
from conversations.frame_log import format as frames
from conversations.frame_log.format import UserPacket
from conversations.models.frame_chunk import FrameChunk
from conversations.threads import in_thread

if TYPE_CHECKING:
    from conversations.models import Conversation

log = logging.getLogger(__name__)

BACKLOG_CHUNKS = 60
MAX_CLIENT_STATS = 20  # they come once a second: these cover any chunk
HEARTBEAT_SECONDS = 3.0
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
CLOSE_SECONDS = 20.0


class FrameLogWriter:
    """``first_frame``: where the log ends that is continued."""

    def __init__(self, conversation: Conversation, first_frame: int = 0) -> None:
        self.unwritten = 0
        self.written = 0
        self._conversation = conversation
        self._size = settings.CHUNK_FRAMES
        self._backlog: deque[FrameChunk] = deque()
        self._changes: dict[str, object] = {}  # of the row, with the next write
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._failures = 0
        self._tried: FrameChunk | None = None
        self._frames = first_frame  # of the conversation so far
        self._answered = -1
        self._user: list[UserPacket] = []  # received, not yet in a chunk
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[NDArray[np.uint16]] = []
        self._agent: list[bytes] = []
        self._timings: list[tuple[int, ...]] = []
        self._pieces: list[tuple[int, str]] = []
        self._client_stats: list[tuple[int, dict[str, float | bool]]] = []

    def add_user(self, packet: UserPacket) -> None:
        self._user.append(packet)

    def add_frame(
        self,
        tokens: NDArray[np.uint16],
        piece: str,
        packet: bytes,
        timing: tuple[int, ...],
    ) -> None:
        if piece:
            self._pieces.append((self._frames, piece))
        self._tokens.append(tokens)
        self._agent.append(packet)
        self._timings.append(timing)
        self._frames += 1
        self._answered = timing[0]
        if len(self._tokens) == self._size:
            self._cut_chunk(answered_seq=timing[0])

    def add_client_stats(self, figures: dict[str, float | bool]) -> None:
        """What the page measured; MAX_CLIENT_STATS of a chunk, then the oldest goes."""
        kept = [*self._client_stats, (self._frames, figures)]
        self._client_stats = kept[-MAX_CLIENT_STATS:]

    def skip(self, frames: int) -> None:
        """The log will not have these frames: it continues after them."""
        if self._tokens:
            self._cut_chunk(answered_seq=self._answered)
        self._frames += frames
        self.unwritten += frames

    def change(self, **changes: object) -> None:
        """Have fields of the row written, at once and never after a later chunk."""
        self._changes |= changes
        self._stir()

    async def flush(self) -> None:
        """Wait until every frame so far is in the database: as long as that takes."""
        if self._tokens:
            self._cut_chunk(answered_seq=self._answered)
        self._stir()
        await self._idle.wait()

    def _stir(self) -> None:
        self._idle.clear()
        self._wake.set()

    def _cut_chunk(self, answered_seq: int | None) -> None:
        """Move what was collected to the backlog; None: with all user packets."""
        split = len(self._user)
        if answered_seq is not None:
            split = sum(packet.seq <= answered_seq for packet in self._user)
        user, self._user = self._user[:split], self._user[split:]
        first = self._frames - len(self._tokens)
        chunk = self._chunk(first, frames.pack_user_packets(user))
        self._clear()
        if len(self._backlog) == BACKLOG_CHUNKS:
            self.unwritten += self._backlog.popleft().frames
        self._backlog.append(chunk)
        self._stir()

    def _chunk(self, first_frame: int, user_packets: bytes) -> FrameChunk:
        return FrameChunk(
            conversation=self._conversation,
            first_frame=first_frame,
            frames=len(self._tokens),
            tokens=frames.pack_tokens(self._tokens),
            user_packets=user_packets,
            agent_packets=frames.pack_agent_packets(self._agent),
            timings=frames.pack_timings(self._timings),
            pieces=self._pieces,
            client_stats=self._client_stats,
        )

    async def run(self) -> None:
        """Write chunks as they are cut, and say every few seconds: still alive."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                await self._touch_now()
                continue
            self._wake.clear()
            while self._unsaved:
                await self._save_oldest()
            if not self._wake.is_set():
                self._idle.set()

    async def close(self) -> None:
        """Write what is left. Whatever can't be written within CLOSE_SECONDS counts
        as unwritten. Raises Superseded."""
        if self._tokens or self._user:
            self._cut_chunk(answered_seq=None)
        deadline = time.monotonic() + CLOSE_SECONDS
        try:
            while self._unsaved and time.monotonic() < deadline:
                await self._save_oldest()
        except ConversationGone:
            log.info("the conversation was deleted before its last frames")
            self.unwritten += sum(chunk.frames for chunk in self._backlog)
            self._backlog.clear()
        except DatabaseProblem:
            log.exception("the last frames can't be written")
        if self._backlog:
            self.unwritten += sum(chunk.frames for chunk in self._backlog)
            log.error("%d chunks could not be written", len(self._backlog))
            self._backlog.clear()

    async def hand_over(self) -> None:
        """Another process has the conversation: leave it the user's packets that only
        this one has. A failure is logged, and no more."""
        packets = b"".join(bytes(chunk.user_packets) for chunk in self._backlog)
        packets += frames.pack_user_packets(self._user)
        if not packets:
            return
        first = self._backlog[0].first_frame if self._backlog else self._frames
        self._clear()
        late = self._chunk(first, packets)
        try:
            await in_thread(late.save)
        except DatabaseProblem as error:
            log.warning("the last user packets could not be handed over: %s", error)

    @property
    def _unsaved(self) -> bool:
        return bool(self._backlog or self._changes)

    async def _save_oldest(self) -> None:
        if not self._backlog:
            await self._touch_now()
            return
        chunk = self._backlog[0]
        if await self._attempt(lambda changes: self._write(chunk, changes)):
            self.written += 1
            # Unless the backlog overflowed meanwhile: then it was counted as lost,
            # but has just been written after all.
            if self._backlog and self._backlog[0] is chunk:
                self._backlog.popleft()
            else:
                self.unwritten -= chunk.frames

    async def _touch_now(self) -> None:
        await self._attempt(lambda changes: self._conversation.touch(**changes))

    async def _attempt(self, work: Callable[[dict[str, object]], None]) -> bool:
        changes, self._changes = self._changes, {}
        try:
            await in_thread(lambda: work(changes))
        except (DataError, IntegrityError):
            raise  # writing it again would fail again
        except DatabaseProblem as error:
            self._changes = changes | self._changes
            wait = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
            self._failures += 1
            log.warning("frame log: %s; trying again in %.1f s", error, wait)
            await asyncio.sleep(wait)
            return False
        except asyncio.CancelledError:  # the thread continues: twice does no harm
            self._changes = changes | self._changes
            raise
        self._failures = 0
        return True

    def _write(self, chunk: FrameChunk, changes: dict[str, object]) -> None:
        repeated, self._tried = chunk is self._tried, chunk
        self._conversation.append(chunk, repeated=repeated, **changes)
