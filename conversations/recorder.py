"""The frame log of one live conversation, on its way to the database.

Owns the chunk being filled, the chunks that wait to be written, and the heartbeat.
Nothing here waits on the audio path: ``add_user`` and ``add_frame`` only append, and
``run`` writes one chunk at a time in a thread. A chunk is CHUNK_FRAMES frames, and so
that is what a ``kill -9`` can cost.

While the database is away chunks wait, BACKLOG_CHUNKS at most (about 1 MB); beyond
that the oldest goes, counted in ``unwritten``: the log then has a hole there, and
``Conversation.unwritten_frames`` says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DataError, IntegrityError
from django.db.utils import Error as DatabaseProblem
from numpy.typing import NDArray

from conversations import frames
from conversations.frames import UserPacket
from conversations.models import Conversation, FrameChunk

log = logging.getLogger(__name__)

BACKLOG_CHUNKS = 60
HEARTBEAT_SECONDS = 3.0
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
CLOSE_SECONDS = 20.0

# Not Channels' one process-wide thread: there a slow query of one conversation would
# hold up all others.
THREADS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="frame-log")
T = TypeVar("T")


class ConversationGone(Exception):
    """The row was deleted, or ended by someone else."""


async def in_thread(work: Callable[[], T]) -> T:
    """Database work of a live conversation, off the loop and off Channels' thread."""
    run = database_sync_to_async(work, thread_sensitive=False, executor=THREADS)
    return await run()


class Recorder:
    def __init__(self, conversation: Conversation) -> None:
        self.unwritten = 0
        self.written = 0
        self._conversation = conversation
        self._size = settings.CHUNK_FRAMES
        self._backlog: deque[FrameChunk] = deque()
        self._cut = asyncio.Event()
        self._failures = 0
        self._frames = 0  # of the conversation so far
        self._user: list[UserPacket] = []  # received, not yet in a chunk
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[NDArray[np.uint16]] = []
        self._agent: list[bytes] = []
        self._timings: list[tuple[int, ...]] = []
        self._pieces: list[tuple[int, str]] = []

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
        if len(self._tokens) == self._size:
            self._cut_chunk(answered_seq=timing[0])

    def _cut_chunk(self, answered_seq: int | None) -> None:
        """Move what was collected to the backlog; None: with all user packets."""
        split = len(self._user)
        if answered_seq is not None:
            split = sum(packet.seq <= answered_seq for packet in self._user)
        user, self._user = self._user[:split], self._user[split:]
        chunk = FrameChunk(
            conversation=self._conversation,
            first_frame=self._frames - len(self._tokens),
            frames=len(self._tokens),
            tokens=frames.pack_tokens(self._tokens),
            user_packets=frames.pack_user_packets(user),
            agent_packets=frames.pack_agent_packets(self._agent),
            timings=frames.pack_timings(self._timings),
            pieces=self._pieces,
        )
        self._clear()
        if len(self._backlog) == BACKLOG_CHUNKS:
            self.unwritten += self._backlog.popleft().frames
        self._backlog.append(chunk)
        self._cut.set()

    async def run(self) -> None:
        """Write chunks as they are cut, and say every few seconds: still alive."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._cut.wait()
            except TimeoutError:
                await self._attempt(self._touch)
                continue
            self._cut.clear()
            while self._backlog:
                await self._write_oldest()

    async def close(self) -> None:
        """Write what is left. Whatever can't be written within CLOSE_SECONDS counts
        as unwritten."""
        if self._tokens or self._user:
            self._cut_chunk(answered_seq=None)
        deadline = time.monotonic() + CLOSE_SECONDS
        try:
            while self._backlog and time.monotonic() < deadline:
                await self._write_oldest()
        except ConversationGone:
            log.info("the conversation was deleted before its last frames")
        if self._backlog:
            self.unwritten += sum(chunk.frames for chunk in self._backlog)
            log.error("%d chunks could not be written", len(self._backlog))
            self._backlog.clear()

    async def _write_oldest(self) -> None:
        chunk = self._backlog[0]
        if await self._attempt(lambda: self._write(chunk)):
            self.written += 1
            # Unless the backlog overflowed meanwhile: then it was counted as lost,
            # but has just been written after all.
            if self._backlog and self._backlog[0] is chunk:
                self._backlog.popleft()
            else:
                self.unwritten -= chunk.frames

    async def _attempt(self, work: Callable[[], None]) -> bool:
        try:
            await in_thread(work)
        except IntegrityError as error:
            raise ConversationGone(str(error)) from error
        except DataError:
            raise  # writing it again would fail again
        except DatabaseProblem as error:
            wait = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
            self._failures += 1
            log.warning("frame log: %s; trying again in %.1f s", error, wait)
            await asyncio.sleep(wait)
            return False
        self._failures = 0
        return True

    def _touch(self) -> None:
        if not self._conversation.touch():
            raise ConversationGone("ended by someone else")

    def _write(self, chunk: FrameChunk) -> None:
        # A write whose answer got lost is repeated: the second is then no conflict.
        FrameChunk.objects.bulk_create([chunk], ignore_conflicts=True)
        self._touch()
