"""The conversation's session on a worker, and what replaces it.

Must not depend on the browser: it sends events only. The audio path is paused while the
session changes, in one of three ways:

* It is lost, or another web process left it behind: ``_recover``.
* Its worker drains: another worker is brought up to date while this one still talks,
  then takes over (``_move``).
* The user wants to go back: the same worker rebuilds the session from a shorter log
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
from conversations.live.handover import HandoverTarget, prepare_move, take_replay_tail
from conversations.live.recovery import ELSEWHERE, attach, rebuild, retry_until
from conversations.live.rewind import RewindPlan, Rewinds
from conversations.live.state import LiveState
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


class WorkerConnection:
    """``run`` ends with the error that the conversation ends by. ``on_ready`` is called
    once, when a conversation that was left behind has a session again."""

    def __init__(
        self, state: LiveState, on_ready: Callable[[WorkerSession], None]
    ) -> None:
        self.session: WorkerSession | None = None
        self.segments = LogSegments.parse(state.row.log_segments)
        self.rewinds = Rewinds(state)
        self._state = state
        self._on_ready = on_ready
        self._in_a_row = 0
        self._lost_at = -FRUITFUL
        self._leaving: set[asyncio.Task[None]] = set()

    def begin(self, session: WorkerSession) -> None:
        """A new conversation's first session."""
        self.session = session
        self._state.path.switch_to(session, session.ready.frame, same=False)

    async def run(self) -> None:
        if self.session is None:
            await self._recover(None)
            assert self.session is not None
            self._on_ready(self.session)
        while True:
            try:
                await self._serve(self.session)
            except PersonaplexError as error:
                log.warning("lost the worker: %s (%s)", error.code, error)
                if isinstance(error, TakenOver):
                    await self._confirm_lease()
                else:
                    self._blame(error)
                await self._recover(error)

    async def _confirm_lease(self) -> None:
        """Raise Superseded unless this process still has the lease: then the process
        that took the session has just not noticed yet that its own is gone."""
        deadline = time.monotonic() + settings.RECOVER_SECONDS
        await retry_until(self._state.row.touch, deadline)

    def _blame(self, error: PersonaplexError) -> None:
        """Raise the error again unless another session may do better."""
        frame = self._state.path.frame
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
        moving = asyncio.create_task(prepare_move(session, self._state, self.segments))
        rewinding = asyncio.create_task(self.rewinds.next(self.segments))
        tasks: tuple[asyncio.Task[Any], ...] = (taking, watching, moving, rewinding)
        unused: HandoverTarget | None = None
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
                target, unused = unused, None
                await self._move(session, target, taking)
        finally:
            await _stop(*tasks)
            self._state.path.replay_tail = None
            if unused is not None:
                await unused.prepared.close()

    async def _take(self, session: WorkerSession) -> None:
        state = self._state
        async for result in session:
            silent_ns = state.path.answered_ns
            state.path.answer(result)
            if state.on_next_answer is not None:
                on_next_answer, state.on_next_answer = state.on_next_answer, None
                on_next_answer(round((state.path.answered_ns - silent_ns) / 1e6))
        raise WorkerLost("the worker ended the session")

    async def _watch(self) -> None:
        while (
            self._state.path.waiting_s(time.perf_counter_ns()) < WORKER_SILENT_SECONDS
        ):
            await asyncio.sleep(WATCH_SECONDS)
        raise Hung("a frame was not answered for too long")

    # --- another session

    async def _recover(self, error: PersonaplexError | None) -> None:
        """``error``: why it was lost; None if the conversation is being resumed."""
        state = self._state
        deadline = time.monotonic() + settings.RECOVER_SECONDS
        state.path.pause()
        self._leave(error)
        kept = None
        if not isinstance(error, Hung):
            have = self.segments.model_frame(state.path.frame)
            kept = await attach(state.row, have, deadline)
        if kept is None:
            await self._rebuild(deadline, error)
        else:
            self._use(*kept, self.segments, same=True)
        how = "rebuilt" if kept is None else "kept"
        if error is None:
            state.on_next_answer = lambda ms: state.record("resumed", ms, how)
            return
        why = f"{error.code}, {how}"
        state.on_next_answer = lambda ms: state.record("moved", ms, why)
        state.put_event("state", state="live")

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
        state, began = self._state, time.monotonic()
        state.put_event("state", state="recovering", seconds=_last_rebuild_s)
        try:
            async with asyncio.timeout(settings.RECOVER_SECONDS):
                await state.log_writer.flush()
            behind, segments = await retry_until(
                lambda: read_frame_log(state.row, self.segments, state.path.frame),
                deadline,
            )
            avoid = state.row.worker_name
            worker, session = await rebuild(
                state.request, state.row.fingerprint, behind, deadline, avoid
            )
        except (TimeoutError, *ELSEWHERE) as problem:
            raise error or WorkerLost(f"no other one: {problem}") from problem
        _last_rebuild_s = max(0.1, round(time.monotonic() - began, 1))
        self._use(worker, session, segments, same=False)
        self._count_move()

    async def _move(
        self, old: WorkerSession, target: HandoverTarget, taking: asyncio.Task[None]
    ) -> None:
        """Both stand still only while the last few frames are handed on."""
        state = self._state
        state.path.pause()
        began = time.monotonic()
        try:
            while state.path.unanswered and time.monotonic() - began < ANSWER_SECONDS:
                await asyncio.sleep(0.005)
            await _stop(taking)
            rest = take_replay_tail(state)
            session = await target.prepared.go(rest, timeout=GO_SECONDS)
        except asyncio.CancelledError:
            await target.prepared.close()
            raise
        self._use(target.worker, session, target.segments, same=False)
        self._count_move()

        def moved(ms: int) -> None:
            state.record("moved", ms, "draining")
            state.notice("moved", "Another voice engine has taken over.", ms=ms)

        state.on_next_answer = moved
        await old.close()

    def _count_move(self) -> None:
        self._state.row.moves += 1
        self._state.log_writer.change(moves=self._state.row.moves)

    async def _restart(self, session: WorkerSession, plan: RewindPlan) -> None:
        state = self._state
        state.path.pause()
        state.put_event("state", state="recovering", seconds=_last_rebuild_s)
        segments = self.segments = LogSegments(plan.kept, state.path.frame)
        discarding = asyncio.create_task(_discard(session))
        try:
            request = state.request
            await session.restart(request.open, request.prompt, log=plan.log)
        finally:
            await _stop(discarding)
        self._change(segments, session)
        left = round(session.ready.context_frames * FRAME_SECONDS, 1)
        state.put_event(
            "rewound",
            frame=state.path.frame,
            seconds=plan.seconds,
            context_seconds=left,
        )
        state.put_event("state", state="live")
        state.record("rewound", detail=f"{plan.seconds:g} s")

    def _use(
        self,
        worker: Worker,
        session: WorkerSession,
        segments: LogSegments,
        *,
        same: bool,
    ) -> None:
        row = self._state.row
        self.session, row.worker_name = session, worker.name
        self._state.log_writer.change(worker_name=worker.name)
        self._change(segments, session, same=same)

    def _change(
        self, segments: LogSegments, session: WorkerSession, *, same: bool = False
    ) -> None:
        path, row = self._state.path, self._state.row
        next_frame = segments.model_frame(path.frame)
        # A session that was kept may be ahead: what is missing here it sends again.
        if session.ready.frame != next_frame and not same:
            raise ProtocolError(f"at {session.ready.frame}, the log at {next_frame}")
        self.segments, row.log_segments = segments, segments.dump()
        self._state.log_writer.change(log_segments=row.log_segments)
        path.switch_to(session, next_frame, same=same)


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _discard(session: WorkerSession) -> None:
    """Drop the frames of the old session while it is rebuilt."""
    async for _ in session:
        pass
