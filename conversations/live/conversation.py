"""One browser in one conversation: browser ↔ site ↔ worker, from ``start`` on.

Runs the tasks of the conversation, and sees to it that this process gives it up exactly
once: ended, parked until the browser comes back, or left to another process to which
the browser came back. It must not depend on Channels: the consumer hands it a send
function and what the browser sent.

``receive_frame`` never waits. Everything that does is a task under one task group:
the worker's frames, sending, recording, and watching the clock. A task that fails ends
the conversation with the reason that its error stands for.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.utils import Error as DatabaseProblem

from conversations.errors import EndReason, ResumeImpossible, Superseded
from conversations.live import (
    closing,
    context_window,
    event_loop_load,
    opening,
    queueing,
    remote_end,
    wire,
)
from conversations.live.admission import (
    SessionRequest,
    admit,
    open_session,
    retry_after_s,
)
from conversations.live.browser import BrowserSide
from conversations.live.ending import Ending, Leaving, ending_by
from conversations.live.frame_pace import FramePace
from conversations.live.outbox import Send
from conversations.live.recovery import release
from conversations.live.state import LiveState
from conversations.live.worker_connection import WorkerConnection
from conversations.models import queue
from conversations.threads import in_thread
from inference.engine.api import Sampling
from inference.errors import NoWorker, PersonaplexError, WorkerBusy
from inference.models import Worker
from inference.worker.client import WorkerSession
from personaplex_site.logs import conversation_id
from personas.models import Persona

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.25
# A browser that is heard for so long after ``ready`` has got it, and the token in it.
CONFIRM_SECONDS = 1.0

Session = tuple[SessionRequest, Worker, WorkerSession]


class LiveConversation:
    """``run`` is its whole life; ``leave`` may be called any time, the first counts."""

    def __init__(self, user: AbstractBaseUser, persona: Persona, send: Send) -> None:
        self.id = uuid.uuid4()
        self._user = user
        self._persona = persona
        self._browser = BrowserSide(send)
        self._ending: asyncio.Future[Ending]
        self._ending = asyncio.get_running_loop().create_future()
        self._state: LiveState | None = None
        self._worker: WorkerConnection
        self._resuming = False
        self._fresh: WorkerSession | None = None  # opened, without a conversation yet

    @property
    def begun(self) -> bool:
        """Whether there is a conversation: not while its person waits for a slot."""
        return self._state is not None or self._resuming

    def leave(self, ending: Ending) -> None:
        if not self._ending.done():
            self._ending.set_result(ending)

    def end(self, reason: EndReason, close: int = wire.ENDED, detail: str = "") -> None:
        self.leave(Ending(Leaving.END, reason, close, detail))

    def park(self, reason: EndReason) -> None:
        """Keep it for its browser, which is asked to come back."""
        self.leave(Ending(Leaving.PARK, reason, wire.COME_BACK))

    def watch_transport(self, scope: Any) -> None:
        self._browser.watch_transport(scope)

    def receive_frame(self, data: bytes) -> None:
        """A binary message of the browser. Raises WireError; never waits."""
        if self._ending.done():
            self._browser.after += 1
            return
        frame = wire.parse_frame(data)
        if self._state is None:
            self._browser.early += 1
            if self._browser.early > FramePace.CATCH_UP_FRAMES:
                raise wire.TooFast(f"{self._browser.early} frames before ready")
            return
        self._state.path.user_frame(frame)

    def rewind(self, seconds: float | None) -> None:
        if self._state is not None and not self._ending.done():
            self._worker.rewinds.order(seconds)

    def keep_client_stats(self, fields: dict[str, Any]) -> None:
        if self._state is not None and not self._ending.done():
            self._state.keep_client_stats(fields)

    async def run(self, start: wire.Start) -> None:
        self._resuming = start.resume is not None
        conversation_id.set(str(start.resume.conversation if start.resume else self.id))
        try:
            resume = start.resume
            state = await (self._resume(start, resume) if resume else self._open(start))
            if state is not None:
                await self._live(state)
        except ResumeImpossible as error:
            await self._refuse(error, wire.RESUME_IMPOSSIBLE)
        except Superseded:
            await self._browser.close(wire.TAKEN_OVER)
        except PersonaplexError as error:
            no_place = isinstance(error, (NoWorker, WorkerBusy))
            await self._refuse(error, wire.NO_PLACE if no_place else wire.ENDED)
        except Exception as error:
            log.exception("a conversation failed")
            if start.resume and isinstance(error, DatabaseProblem):
                await self._browser.close(wire.COME_BACK)  # it may yet be back in time
            else:
                await self._refuse(PersonaplexError("see the log"), wire.ENDED)

    # --- until it is live

    async def _open(self, start: wire.Start) -> LiveState | None:
        """A new one; None when the browser left meanwhile."""
        try:
            return await self._begin(start)
        finally:
            if self._fresh is not None:
                await self._fresh.close()

    async def _begin(self, start: wire.Start) -> LiveState | None:
        seed = start.sampling.seed if start.seeded else secrets.randbelow(wire.MAX_SEED)
        sampling = replace(start.sampling, seed=seed)
        opened = await self._unless_ended(self._in_turn(sampling, start.ticket))
        if opened is None:
            return None
        session = opened[-1]
        state = await in_thread(
            lambda: opening.begin(self._user, start, self._browser, *opened)
        )
        self._connect(state).begin(session)
        self._fresh = None
        await self._browser.send_event("ready", **self._ready(state, session))
        await self._browser.send_event("state", state="live")
        return state

    async def _in_turn(self, sampling: Sampling, ticket: str) -> Session:
        await self._browser.send_event("state", state="connecting")
        return await queueing.in_turn(
            self._user,
            self.id,
            lambda: self._open_session(sampling),
            self._send_position,
            ticket=ticket,
            comes_back=self._comes_back,
        )

    async def _send_position(self, position: queue.QueuePosition, ticket: str) -> None:
        await self._browser.send_event("state", state="waiting")
        await self._browser.send_event(
            "waiting",
            position=position.number,
            of=position.of,
            eta_s=position.eta_s,
            ticket=ticket,
        )

    def _comes_back(self) -> bool:
        return self._ending.done() and self._ending.result().how is Leaving.PARK

    async def _open_session(self, sampling: Sampling) -> Session:
        event_loop_load.PROCESS_LOAD.check()
        admitted = await in_thread(
            lambda: admit(self._user, self._persona, self.id, sampling)
        )
        await asyncio.gather(*map(release, admitted.ended))
        await self._browser.send_event("state", state="priming")
        worker, self._fresh = await open_session(admitted.workers, admitted.request)
        return admitted.request, worker, self._fresh

    async def _unless_ended(
        self, opening: Coroutine[Any, Any, Session]
    ) -> Session | None:
        """What was opened; None when the browser left or ended it meanwhile."""
        task = asyncio.create_task(opening)
        either: set[asyncio.Future[Any]] = {task, self._ending}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._ending.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ending = self._ending.result()
        log.info("ended before it began: %s %s", ending.reason, ending.detail)
        await self._browser.close(ending.close_code)
        return None

    async def _resume(self, start: wire.Start, wanted: wire.Resume) -> LiveState:
        await self._browser.send_event("state", state="resuming")
        state = await in_thread(
            lambda: opening.resume(
                self._user, self._persona, start, self._browser, wanted
            )
        )
        self.id = state.row.pk
        self._connect(state)
        return state

    def _connect(self, state: LiveState) -> WorkerConnection:
        self._worker = WorkerConnection(state, self._resumed)
        self._state = state
        return self._worker

    def _resumed(self, session: WorkerSession) -> None:
        """It has a session again."""
        assert self._state is not None
        self._browser.put_event("ready", **self._ready(self._state, session))
        self._browser.put_event("state", state="live")
        self._state.path.send_again(self._state.resume_point)

    def _ready(self, state: LiveState, session: WorkerSession) -> dict[str, object]:
        state.ready_at = time.monotonic()
        log.info("live on %s, frame %d", session.ready.model, state.path.frame)
        return opening.ready_event(state, session.ready)

    # --- while it is live

    async def _live(self, state: LiveState) -> None:
        conversation_id.set(str(self.id))
        watched = remote_end.watch(self.id, lambda: self.end(EndReason.ENDED_ELSEWHERE))
        try:
            await self._talk(state)
        finally:
            remote_end.forget(watched)
            await self._close(state)

    async def _talk(self, state: LiveState) -> None:
        """Until something says that it has ended."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._guard(work))
                for work in (
                    self._worker.run(),
                    self._browser.outbox.run(),
                    state.log_writer.run(),
                    self._watch(state),
                )
            ]
            await asyncio.wait({self._ending})
            for task in tasks:
                task.cancel()

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """The border of a task: its failure is a reason to leave."""
        try:
            await work
        except Exception as error:
            ending = ending_by(error)
            if ending.reason == EndReason.SITE_ERROR:
                log.exception("the site failed a conversation")
            else:
                log.warning("%s: %s", type(error).__name__, error, exc_info=False)
            self.leave(ending)

    async def _watch(self, state: LiveState) -> None:
        path = state.path
        full = context_window.ContextWatch(state)
        unconfirmed = state.resumed
        looked = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            event_loop_load.PROCESS_LOAD.note(now - looked - WATCH_SECONDS)
            looked = now
            self._browser.outbox.check(now)
            silent_s = (time.perf_counter_ns() - path.heard_ns) / 1e9
            if now >= state.ends_at:
                self.end(EndReason.MAX_DURATION)
            if silent_s >= settings.CONVERSATION_INACTIVITY_SECONDS:
                self.end(EndReason.INACTIVITY)
            session = self._worker.session
            if session is not None and full.look(session.ready):
                self.end(EndReason.CONTEXT_FULL)
            heard_at = now - silent_s if path.heard else 0.0
            if unconfirmed and heard_at >= state.ready_at + CONFIRM_SECONDS:
                state.log_writer.change(resume_hash_before="")
                unconfirmed = False

    async def _close(self, state: LiveState) -> None:
        if not self._ending.done():
            self.end(EndReason.SITE_ERROR, detail="cut off")
        ending = self._ending.result()
        await closing.close(state, self._worker.session, ending, self._browser)

    async def _refuse(self, error: PersonaplexError, close_code: int) -> None:
        log.info("refused: %s (%s)", error.code, error)
        retry = await in_thread(lambda: retry_after_s(error))
        fields = {**error.as_event(), "retry_after_s": retry}
        await self._browser.send_event("error", **fields)
        await self._browser.close(close_code)
