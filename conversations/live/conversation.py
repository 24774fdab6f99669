"""One browser in one conversation: browser ↔ site ↔ worker, from ``start`` on.

Owns the tasks of the conversation and that its holder leaves it exactly once: ended,
parked until the browser comes back, or let go because it came back elsewhere. Knows no
Channels: it gets a send function and is told what the browser sent.

``receive_frame`` never waits. Everything that does is a task under one task group:
the worker's frames, sending, recording, and watching the clock. A task that fails ends
the conversation with the reason that its error stands for.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.utils import Error as DatabaseProblem

from conversations.errors import EndReason, ResumeImpossible, Superseded
from conversations.live import context_window, event_loop_load, opening, queueing, wire
from conversations.live.admission import (
    Plan,
    Wanted,
    make_plan,
    open_session,
    retry_after_s,
)
from conversations.live.browser import BrowserSide
from conversations.live.departing import depart
from conversations.live.ending import Ending, Leaving, ending_by
from conversations.live.outbox import Send
from conversations.live.recovery import release
from conversations.live.state import Held
from conversations.live.worker_connection import WorkerLink
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

Session = tuple[Plan, Wanted, Worker, WorkerSession]


@dataclass
class Parts:
    """What exists once the conversation is held."""

    opened: opening.Opened
    held: Held
    link: WorkerLink
    ends_at: float  # of time.monotonic: the longest duration
    ready_at: float = math.inf


class LiveConversation:
    """``run`` is its whole life; ``leave`` may be called any time, the first counts."""

    def __init__(self, user: AbstractBaseUser, persona: Persona, send: Send) -> None:
        self.id = uuid.uuid4()
        self._user = user
        self._persona = persona
        self._browser = BrowserSide(send)
        self._ending: asyncio.Future[Ending]
        self._ending = asyncio.get_running_loop().create_future()
        self._parts: Parts | None = None
        self._resuming = False
        self._fresh: WorkerSession | None = None  # opened, and nobody holds it yet

    @property
    def begun(self) -> bool:
        """Whether there is a conversation: not while its person waits for a slot."""
        return self._parts is not None or self._resuming

    def leave(self, ending: Ending) -> None:
        if not self._ending.done():
            self._ending.set_result(ending)

    def end(self, reason: EndReason, close: int = wire.ENDED, detail: str = "") -> None:
        self.leave(Ending(Leaving.END, reason, close, detail))

    def park(self, reason: EndReason) -> None:
        """Keep it for its browser, which is told to come back."""
        self.leave(Ending(Leaving.PARK, reason, wire.COME_BACK))

    def watch_transport(self, scope: Any) -> None:
        self._browser.watch_transport(scope)

    def receive_frame(self, data: bytes) -> None:
        """A binary message of the browser. Raises WireError; never waits."""
        if self._ending.done():
            self._browser.after += 1
            return
        frame = wire.parse_frame(data)
        if self._parts is None:
            self._browser.early += 1
            if self._browser.early > wire.Pace.CATCH_UP_FRAMES:
                raise wire.TooFast(f"{self._browser.early} frames before ready")
            return
        self._parts.held.path.user_frame(frame)

    def rewind(self, seconds: float | None) -> None:
        if self._parts is not None and not self._ending.done():
            self._parts.link.rewinds.order(seconds)

    def page_figures(self, fields: dict[str, Any]) -> None:
        if self._parts is not None and not self._ending.done():
            self._parts.held.keep_page_figures(fields)

    async def run(self, start: wire.Start) -> None:
        self._resuming = start.resume is not None
        conversation_id.set(str(start.resume.conversation if start.resume else self.id))
        try:
            parts = await (self._take_up(start) if start.resume else self._open(start))
            if parts is not None:
                await self._hold(parts)
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

    # --- until it is held

    async def _open(self, start: wire.Start) -> Parts | None:
        """A new one; None when the browser left meanwhile."""
        try:
            return await self._begin(start)
        finally:
            if self._fresh is not None:
                await self._fresh.close()

    async def _begin(self, start: wire.Start) -> Parts | None:
        seed = start.sampling.seed if start.seeded else secrets.randbelow(wire.MAX_SEED)
        sampling = replace(start.sampling, seed=seed)
        opened = await self._unless_ended(self._in_turn(sampling, start.ticket))
        if opened is None:
            return None
        session = opened[-1]
        begun = await in_thread(lambda: opening.begin(self._user, self.id, *opened))
        parts = self._put_together(start, begun)
        parts.link.begin(session)
        self._fresh = None
        await self._browser.event("ready", **self._ready(parts, session))
        await self._browser.event("state", state="live")
        return parts

    async def _in_turn(self, sampling: Sampling, ticket: str) -> Session:
        await self._browser.event("state", state="connecting")
        return await queueing.in_turn(
            self._user,
            self.id,
            lambda: self._open_session(sampling),
            self._tell_standing,
            ticket=ticket,
            comes_back=self._comes_back,
        )

    async def _tell_standing(self, standing: queue.Standing, ticket: str) -> None:
        await self._browser.event("state", state="waiting")
        await self._browser.event(
            "waiting",
            position=standing.position,
            of=standing.of,
            eta_s=standing.eta_s,
            ticket=ticket,
        )

    def _comes_back(self) -> bool:
        return self._ending.done() and self._ending.result().how is Leaving.PARK

    async def _open_session(self, sampling: Sampling) -> Session:
        event_loop_load.of_this_process.check()
        plan = await in_thread(lambda: make_plan(self._user, self._persona))
        await asyncio.gather(*map(release, plan.ended))
        await self._browser.event("state", state="priming")
        wanted = Wanted.by(self.id, plan, sampling)
        worker, self._fresh = await open_session(plan.workers, wanted)
        return plan, wanted, worker, self._fresh

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

    async def _take_up(self, start: wire.Start) -> Parts:
        assert start.resume is not None
        await self._browser.event("state", state="resuming")
        resume = start.resume
        taken = await in_thread(
            lambda: opening.take_up(self._user, self._persona, resume)
        )
        self.id = taken.row.pk
        return self._put_together(start, taken)

    def _put_together(self, start: wire.Start, opened: opening.Opened) -> Parts:
        held = opened.held(start, self._browser.outbox, self._browser.say)
        link = WorkerLink(held, self._resumed)
        left = settings.CONVERSATION_MAX_SECONDS - opened.elapsed_s
        self._parts = Parts(opened, held, link, time.monotonic() + left)
        return self._parts

    def _resumed(self, session: WorkerSession) -> None:
        """It has a session again."""
        assert self._parts is not None
        self._browser.say("ready", **self._ready(self._parts, session))
        self._browser.say("state", state="live")
        self._parts.held.path.send_again(self._parts.opened.resume_point)

    def _ready(self, parts: Parts, session: WorkerSession) -> dict[str, object]:
        parts.ready_at = time.monotonic()
        log.info("live on %s, frame %d", session.ready.model, parts.held.path.frame)
        left_s = parts.ends_at - parts.ready_at
        return opening.ready_event(parts.opened, parts.held, session.ready, left_s)

    # --- while it is held

    async def _hold(self, parts: Parts) -> None:
        conversation_id.set(str(self.id))
        try:
            await self._talk(parts)
        finally:
            await self._depart(parts)

    async def _talk(self, parts: Parts) -> None:
        """Until something says that it has ended."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._guard(work))
                for work in (
                    parts.link.run(),
                    self._browser.outbox.run(),
                    parts.held.recorder.run(),
                    self._watch(parts),
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

    async def _watch(self, parts: Parts) -> None:
        path = parts.held.path
        full = context_window.ContextWatch(parts.held)
        unconfirmed = parts.opened.session is None
        looked = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            event_loop_load.of_this_process.note(now - looked - WATCH_SECONDS)
            looked = now
            self._browser.outbox.check(now)
            silent_s = (time.perf_counter_ns() - path.heard_ns) / 1e9
            if now >= parts.ends_at:
                self.end(EndReason.MAX_DURATION)
            if silent_s >= settings.CONVERSATION_INACTIVITY_SECONDS:
                self.end(EndReason.INACTIVITY)
            session = parts.link.session
            if session is not None and full.look(session.ready):
                self.end(EndReason.CONTEXT_FULL)
            heard_at = now - silent_s if path.heard else 0.0
            if unconfirmed and heard_at >= parts.ready_at + CONFIRM_SECONDS:
                parts.held.recorder.change(resume_hash_before="")
                unconfirmed = False

    async def _depart(self, parts: Parts) -> None:
        if not self._ending.done():
            self.end(EndReason.SITE_ERROR, detail="cut off")
        ending = self._ending.result()
        await depart(parts.held, parts.link.session, ending, self._browser)

    async def _refuse(self, error: PersonaplexError, close_code: int) -> None:
        log.info("refused: %s (%s)", error.code, error)
        retry = await in_thread(lambda: retry_after_s(error))
        fields = {**error.as_event(), "retry_after_s": retry}
        await self._browser.event("error", **fields)
        await self._browser.close(close_code)
