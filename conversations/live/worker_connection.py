"""The way to the worker: replaced when it breaks, begun anew when it is rewound.

Owns which worker session the conversation has, and what the model has behind it. Knows
no browser: what happens it says by events.

The session changes in three ways, the audio path being held for the while:

* It is lost, or was left behind by another web process: ``_regain``.
* Its worker drains: another one is brought up to date while this one goes on, then
  takes over (``_move``).
* The user wants to go back: the same worker begins anew with less behind it
  (``_restart``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings

from conversations.frame_log.resume import read_frame_log
from conversations.frame_log.segments import LogSegments
from conversations.live.handover import Elsewhere, from_tape, prepare_move
from conversations.live.recovery import ELSEWHERE, attach, patiently, rebuild
from conversations.live.rewind import Back, Rewinds
from conversations.live.state import Held
from inference.errors import PersonaplexError, ProtocolError, TakenOver, WorkerLost
from inference.models import Worker
from inference.timing import FRAME_SECONDS
from inference.worker.client import WorkerSession

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.25
WORKER_SILENT_SECONDS = 10.0  # a frame unanswered for that long: the worker hangs
# A conversation may itself be what kills its workers. So it ends when so many were
# lost, or have failed, with fewer than FRUITFUL frames between one and the next.
FRUITFUL = 25
MAX_LOST, MAX_FAILED = 3, 2
ANSWER_SECONDS = 0.3  # how long a session that is to be left is waited for
GO_SECONDS = 5.0  # and the one that takes over, for its last few frames

_last_rebuild_s = 3.0  # of any conversation of this process; at first a guess


class Hung(WorkerLost):
    """It answers no frames: its session is of no use, even if it is kept."""


class WorkerLink:
    """``run`` ends with the error that the conversation ends by. ``on_ready`` is called
    once, when a conversation that was left behind has a session again."""

    def __init__(self, held: Held, on_ready: Callable[[WorkerSession], None]) -> None:
        self.session: WorkerSession | None = None
        self.segments = LogSegments.parse(held.row.timeline)
        self.rewinds = Rewinds(held)
        self._held = held
        self._on_ready = on_ready
        self._in_a_row = 0
        self._lost_at = -FRUITFUL
        self._leaving: set[asyncio.Task[None]] = set()

    def begin(self, session: WorkerSession) -> None:
        """A new conversation's first session."""
        self.session = session
        self._held.path.go_on(session, session.ready.frame, same=False)

    async def run(self) -> None:
        if self.session is None:
            await self._regain(None)
            assert self.session is not None
            self._on_ready(self.session)
        while True:
            try:
                await self._serve(self.session)
            except PersonaplexError as error:
                log.warning("lost the worker: %s (%s)", error.code, error)
                if isinstance(error, TakenOver):
                    await self._insist()
                else:
                    self._blame(error)
                await self._regain(error)

    async def _insist(self) -> None:
        """Raise Superseded unless the conversation is still ours: then whoever took
        the session has only not noticed yet that it is theirs no more."""
        deadline = time.monotonic() + settings.RECOVER_SECONDS
        await patiently(self._held.row.touch, deadline)

    def _blame(self, error: PersonaplexError) -> None:
        """Raise the error again unless another session may do better."""
        frame = self._held.path.frame
        if frame - self._lost_at >= FRUITFUL:
            self._in_a_row = 0
        self._lost_at = frame
        self._in_a_row += 1
        most = MAX_LOST if isinstance(error, ELSEWHERE) else MAX_FAILED
        if self._in_a_row >= most:
            raise error

    # --- while there is a session

    async def _serve(self, session: WorkerSession) -> None:
        """Until the session is another one. Raises what it was lost by."""
        taking = asyncio.create_task(self._take(session))
        watching = asyncio.create_task(self._watch())
        moving = asyncio.create_task(prepare_move(session, self._held, self.segments))
        rewinding = asyncio.create_task(self.rewinds.next(self.segments))
        tasks: tuple[asyncio.Task[Any], ...] = (taking, watching, moving, rewinding)
        unused: Elsewhere | None = None
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            unused = moving.result() if moving.done() else None
            for failed in (taking, watching):
                if failed.done():
                    failed.result()
            if rewinding.done():
                await _stop(taking, watching)
                await self._restart(session, rewinding.result())
            elif unused is not None:
                elsewhere, unused = unused, None
                await self._move(session, elsewhere, taking)
        finally:
            await _stop(*tasks)
            self._held.path.tape = None
            if unused is not None:
                await unused.prepared.close()

    async def _take(self, session: WorkerSession) -> None:
        held = self._held
        async for result in session:
            silent_ns = held.path.answered_ns
            held.path.answer(result)
            if held.resounds is not None:
                resounds, held.resounds = held.resounds, None
                resounds(round((held.path.answered_ns - silent_ns) / 1e6))
        raise WorkerLost("the worker ended the session")

    async def _watch(self) -> None:
        while self._held.path.waiting_s(time.perf_counter_ns()) < WORKER_SILENT_SECONDS:
            await asyncio.sleep(WATCH_SECONDS)
        raise Hung("a frame was not answered for too long")

    # --- another session

    async def _regain(self, error: PersonaplexError | None) -> None:
        """``error``: why it was lost; None if the conversation was taken up."""
        held = self._held
        deadline = time.monotonic() + settings.RECOVER_SECONDS
        held.path.hold()
        self._leave(error)
        kept = None
        if not isinstance(error, Hung):
            have = self.segments.model_frame(held.path.frame)
            kept = await attach(held.row, have, deadline)
        if kept is None:
            await self._rebuild(deadline, error)
        else:
            self._go_on(*kept, self.segments, same=True)
        how = "rebuilt" if kept is None else "kept"
        if error is None:
            held.resounds = lambda ms: held.note("resumed", ms, how)
            return
        why = f"{error.code}, {how}"
        held.resounds = lambda ms: held.note("moved", ms, why)
        held.say("state", state="live")

    def _leave(self, error: PersonaplexError | None) -> None:
        """Let go of a session that is broken in some way, without waiting for it."""
        lost, self.session = self.session, None
        if lost is not None:
            ending = lost.close() if isinstance(error, Hung) else lost.park()
            task = asyncio.create_task(ending)
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _rebuild(self, deadline: float, error: PersonaplexError | None) -> None:
        global _last_rebuild_s
        held, began = self._held, time.monotonic()
        held.say("state", state="recovering", seconds=_last_rebuild_s)
        try:
            async with asyncio.timeout(settings.RECOVER_SECONDS):
                await held.recorder.flush()
            behind, segments = await patiently(
                lambda: read_frame_log(held.row, self.segments, held.path.frame),
                deadline,
            )
            avoid = held.row.worker_name
            worker, session = await rebuild(
                held.wanted, held.row.fingerprint, behind, deadline, avoid
            )
        except (TimeoutError, *ELSEWHERE) as problem:
            raise error or WorkerLost(f"no other one: {problem}") from problem
        _last_rebuild_s = max(0.1, round(time.monotonic() - began, 1))
        self._go_on(worker, session, segments, same=False)
        self._count_move()

    async def _move(
        self, old: WorkerSession, elsewhere: Elsewhere, taking: asyncio.Task[None]
    ) -> None:
        """Both stand still only while the last few frames are handed on."""
        held = self._held
        held.path.hold()
        began = time.monotonic()
        try:
            while held.path.unanswered and time.monotonic() - began < ANSWER_SECONDS:
                await asyncio.sleep(0.005)
            await _stop(taking)
            rest = from_tape(held)
            session = await elsewhere.prepared.go(rest, timeout=GO_SECONDS)
        except asyncio.CancelledError:
            await elsewhere.prepared.close()
            raise
        self._go_on(elsewhere.worker, session, elsewhere.segments, same=False)
        self._count_move()

        def moved(ms: int) -> None:
            held.note("moved", ms, "draining")
            held.notice("moved", "Another voice engine has taken over.", ms=ms)

        held.resounds = moved
        await old.close()

    def _count_move(self) -> None:
        self._held.row.moves += 1
        self._held.recorder.change(moves=self._held.row.moves)

    async def _restart(self, session: WorkerSession, back: Back) -> None:
        held = self._held
        held.path.hold()
        held.say("state", state="recovering", seconds=_last_rebuild_s)
        segments = self.segments = LogSegments(back.kept, held.path.frame)
        discarding = asyncio.create_task(_discard(session))
        try:
            wanted = held.wanted
            await session.restart(wanted.open, wanted.prompt, log=back.log)
        finally:
            await _stop(discarding)
        self._change(segments, session)
        left = round(session.ready.context_frames * FRAME_SECONDS, 1)
        held.say(
            "rewound",
            frame=held.path.frame,
            seconds=back.seconds,
            context_seconds=left,
        )
        held.say("state", state="live")
        held.note("rewound", detail=f"{back.seconds:g} s")

    def _go_on(
        self,
        worker: Worker,
        session: WorkerSession,
        segments: LogSegments,
        *,
        same: bool,
    ) -> None:
        row = self._held.row
        self.session, row.worker_name = session, worker.name
        self._held.recorder.change(worker_name=worker.name)
        self._change(segments, session, same=same)

    def _change(
        self, segments: LogSegments, session: WorkerSession, *, same: bool = False
    ) -> None:
        path, row = self._held.path, self._held.row
        next_frame = segments.model_frame(path.frame)
        # A session that was kept may be ahead: what is missing here it sends again.
        if session.ready.frame != next_frame and not same:
            raise ProtocolError(f"at {session.ready.frame}, the log at {next_frame}")
        self.segments, row.timeline = segments, segments.dump()
        self._held.recorder.change(timeline=row.timeline)
        path.go_on(session, next_frame, same=same)


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _discard(session: WorkerSession) -> None:
    """Frames of the old session, while it begins anew."""
    async for _ in session:
        pass
