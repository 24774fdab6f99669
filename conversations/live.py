"""One live conversation: browser ↔ site ↔ worker, from ``start`` to its end reason.

Owns the tasks of the conversation and that it ends exactly once. Knows no Channels:
it gets a send function and is told what the browser sent.

``receive_frame`` never waits. Everything that does is a task under one task group:
taking the worker's frames, sending, recording, and watching the clock. A task that
fails ends the conversation with the reason that its error stands for.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser

from conversations import wire
from conversations.admission import Plan, make_plan, open_session, retry_after_s
from conversations.audio_path import AudioPath
from conversations.backpressure import report_fullness
from conversations.ending import SEND_SECONDS, Ending, reason_of, write_end
from conversations.models import Conversation, EndReason
from conversations.outbox import Outbox, Send
from conversations.recorder import Recorder, in_thread
from inference.engine.api import Sampling
from inference.errors import NoWorker, PersonaplexError, WorkerBusy, WorkerLost
from inference.models import Worker
from inference.timing import FRAME_SECONDS
from inference.worker.client import WorkerSession
from personaplex_site.logs import conversation_id
from personas.models import Persona

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.25
WORKER_SILENT_SECONDS = 10.0  # a frame unanswered for that long: the worker hangs


@dataclass
class Parts:
    """What exists from ``ready`` on."""

    conversation: Conversation
    session: WorkerSession
    recorder: Recorder
    path: AudioPath


class LiveConversation:
    """``run`` is its whole life; ``end`` may be called any time, the first counts."""

    def __init__(self, user: AbstractBaseUser, persona: Persona, send: Send) -> None:
        self.id = uuid.uuid4()
        self._user = user
        self._persona = persona
        self._send = send
        self._ending: asyncio.Future[Ending]
        self._ending = asyncio.get_running_loop().create_future()
        self._outbox = Outbox(send)
        self._parts: Parts | None = None
        self._early = 0  # frames before ``ready``: nobody listens yet
        self._after = 0  # frames after the end

    def end(self, reason: EndReason, close: int = wire.ENDED, detail: str = "") -> None:
        if not self._ending.done():
            self._ending.set_result(Ending(reason, close, detail))

    def watch_transport(self, send: Send) -> None:
        """Let the server's transport say when the browser does not read."""
        report_fullness(send, self._outbox)

    def receive_frame(self, data: bytes) -> None:
        """A binary message of the browser. Raises WireError; never waits."""
        if self._ending.done():
            self._after += 1
            return
        frame = wire.parse_frame(data)
        if self._parts is not None:
            self._parts.path.user_frame(frame)
            return
        self._early += 1
        if self._early > wire.Pace.CATCH_UP_FRAMES:
            raise wire.TooFast(f"{self._early} frames before ready")

    async def run(self, start: wire.Start) -> None:
        conversation_id.set(str(self.id))
        seed = start.sampling.seed if start.seeded else secrets.randbelow(wire.MAX_SEED)
        start = replace(start, sampling=replace(start.sampling, seed=seed))
        try:
            await self._run(start)
        except PersonaplexError as error:
            await self._refuse(error)
        except Exception:
            log.exception("a conversation failed")
            await self._refuse(PersonaplexError("see the log"))

    async def _run(self, start: wire.Start) -> None:
        opened = await self._unless_ended(self._open(start.sampling))
        if opened is None:
            return
        plan, worker, session = opened
        try:
            self._parts = await self._begin(start, plan, worker, session)
            await self._announce_ready(start.sampling, session)
            await self._talk(self._parts)
        finally:
            closing = asyncio.create_task(session.close())
            if self._parts is not None:
                await self._finish(self._parts)
            await asyncio.gather(closing, return_exceptions=True)

    async def _open(self, sampling: Sampling) -> tuple[Plan, Worker, WorkerSession]:
        await self._event("state", state="connecting")
        plan = await in_thread(lambda: make_plan(self._user, self._persona))
        await self._event("state", state="priming")
        worker, session = await open_session(str(self.id), plan, sampling)
        return plan, worker, session

    async def _unless_ended(
        self, opening: Coroutine[Any, Any, tuple[Plan, Worker, WorkerSession]]
    ) -> tuple[Plan, Worker, WorkerSession] | None:
        """What was opened; None when the browser left or ended it meanwhile."""
        task = asyncio.create_task(opening)
        either: set[asyncio.Future[Any]] = {task, self._ending}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._ending.done():
            return task.result()
        task.cancel()
        for outcome in await asyncio.gather(task, return_exceptions=True):
            if isinstance(outcome, tuple):  # it had just been opened
                await outcome[2].close()
        ending = self._ending.result()
        log.info("ended before it began: %s %s", ending.reason, ending.detail)
        await self._close(ending.close_code)
        return None

    async def _begin(
        self, start: wire.Start, plan: Plan, worker: Worker, session: WorkerSession
    ) -> Parts:
        ready = session.ready
        conversation = await in_thread(
            lambda: Conversation.begin(
                self._user,
                id=self.id,
                persona_version=plan.version,
                worker_name=worker.name,
                model=ready.model,
                fingerprint=ready.fingerprint,
                sampling=wire.sampling_event(start.sampling),
                prompt_frames=ready.prompt_frames,
                prime_ms=ready.prime_ms,
            )
        )
        recorder = Recorder(conversation)
        path = AudioPath(start.audio, session, self._outbox, recorder)
        return Parts(conversation, session, recorder, path)

    async def _announce_ready(self, sampling: Sampling, session: WorkerSession) -> None:
        ready = session.ready
        await self._event(
            "ready",
            conversation=str(self.id),
            model=ready.model,
            trained=ready.trained,
            prime_ms=round(ready.prime_ms, 1),
            context_seconds=round(ready.context_frames * FRAME_SECONDS, 1),
            max_seconds=settings.CONVERSATION_MAX_SECONDS,
            seed=sampling.seed,
            sampling=wire.sampling_event(sampling),
        )
        await self._event("state", state="live")
        log.info("live on %s", session.ready.model)

    # --- while it is live

    async def _talk(self, parts: Parts) -> None:
        """Until something says that it has ended."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._guard(work))
                for work in (
                    self._take_frames(parts),
                    self._outbox.run(),
                    parts.recorder.run(),
                    self._watch(parts),
                )
            ]
            await asyncio.wait({self._ending})
            for task in tasks:
                task.cancel()

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """The border of a task: its failure is a reason to end."""
        try:
            await work
        except Exception as error:
            reason = reason_of(error)
            if reason == EndReason.SITE_ERROR:
                log.exception("the site failed a conversation")
            else:
                log.warning("%s: %s", type(error).__name__, error, exc_info=False)
            self.end(reason, detail=str(error))

    async def _take_frames(self, parts: Parts) -> None:
        async for result in parts.session:
            parts.path.answer(result)
        raise WorkerLost("the worker ended the session")

    async def _watch(self, parts: Parts) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            now_ns = time.perf_counter_ns()
            self._outbox.check(now)
            if now - began >= settings.CONVERSATION_MAX_SECONDS:
                self.end(EndReason.MAX_DURATION)
            silent_s = (now_ns - parts.path.heard_ns) / 1e9
            if silent_s >= settings.CONVERSATION_INACTIVITY_SECONDS:
                self.end(EndReason.INACTIVITY)
            if parts.path.waiting_s(now_ns) >= WORKER_SILENT_SECONDS:
                raise WorkerLost("a frame was not answered for too long")

    # --- after

    async def _finish(self, parts: Parts) -> None:
        ending = (
            self._ending.result()
            if self._ending.done()
            else Ending(EndReason.SITE_ERROR, detail="cut off")
        )
        if ending.close_code != wire.ENDED:
            await self._close(ending.close_code)
        await parts.recorder.close()
        path, recorder = parts.path, parts.recorder
        reason = await write_end(
            parts.conversation,
            ending.reason,
            missing_frames=path.missing,
            unwritten_frames=recorder.unwritten,
        )
        await self._event(
            "ended",
            reason=reason,
            text=EndReason(reason).label,
            # In a fresh process this loads every view: seconds, but not of the loop.
            url=await in_thread(parts.conversation.get_absolute_url),
        )
        await self._close(wire.ENDED)
        log.info(
            "ended: %s %s frames=%d late=%d dropped=%d missing=%d unwritten=%d "
            "unsent=%d early=%d after=%d",
            *(ending.reason, ending.detail, path.frames, path.late, path.dropped),
            *(path.missing, recorder.unwritten, self._outbox.dropped),
            *(self._early, self._after),
        )
        await in_thread(parts.conversation.ask_for_analysis)

    async def _refuse(self, error: PersonaplexError) -> None:
        log.info("refused: %s (%s)", error.code, error)
        retry = await in_thread(lambda: retry_after_s(error))
        await self._event("error", **{**error.as_event(), "retry_after_s": retry})
        no_place = isinstance(error, (NoWorker, WorkerBusy))
        await self._close(wire.NO_PLACE if no_place else wire.ENDED)

    async def _event(self, kind: str, **fields: object) -> None:
        await self._transmit(
            {"type": "websocket.send", "text": wire.event(kind, **fields)}
        )

    async def _close(self, code: int) -> None:
        await self._transmit({"type": "websocket.close", "code": code})

    async def _transmit(self, message: dict[str, object]) -> None:
        """Send unless the browser doesn't take it: its absence is no failure here."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(message)
        except (TimeoutError, OSError) as error:
            log.info("not sent: %s", error)
