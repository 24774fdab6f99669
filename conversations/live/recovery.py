"""Finding a worker for a conversation that has lost its own.

First the one that had it, which may have kept the session; else any other of the same
model, which rebuilds it from the frame log. Must not depend on the browser or on audio.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db.utils import Error as DatabaseProblem

from conversations.live.admission import SessionRequest, open_session
from conversations.models import Conversation
from conversations.threads import in_thread, in_thread_until
from inference.engine.api import FrameLog
from inference.errors import (
    NoSession,
    NoWorker,
    PersonaplexError,
    WorkerBusy,
    WorkerLost,
    WorkerStopping,
)
from inference.models import Worker
from inference.worker.client import WorkerSession
from inference.worker.protocol import Attach

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
RELEASE_SECONDS = 5.0
NOTHING_AGAIN = 2**31 - 1  # the first frame that is to come again: none
# What a worker says that can't take a conversation now; another one may.
ELSEWHERE = (NoSession, NoWorker, WorkerBusy, WorkerLost, WorkerStopping)
T = TypeVar("T")


async def attach(
    conversation: Conversation, have: int, deadline: float
) -> tuple[Worker, WorkerSession] | None:
    """The session as its worker kept it; ``have``: the first frame of the model's that
    is not in the log. None: it is not there any more, or not what the log says."""
    name = conversation.worker_name
    wanted = Attach(str(conversation.pk), have, settings.RESUME_SECONDS)
    try:
        worker = await retry_until(
            lambda: Worker.objects.filter(name=name).first(), deadline
        )
        if worker is None:
            return None
        session = await WorkerSession.attach(worker.url, settings.WORKER_SECRET, wanted)
    except ELSEWHERE as error:
        log.info("not kept by %s: %s (%s)", name, error.code, error)
        return None
    if session.ready.frame < have:
        log.warning("%s is at %d, the log at %d", worker, session.ready.frame, have)
        await session.close()
        return None
    return worker, session


async def release(conversation: Conversation) -> None:
    """Have the slot freed that a worker keeps for a conversation that has ended. It
    would be free after RESUME_SECONDS in any case."""
    name = conversation.worker_name
    kept = Attach(str(conversation.pk), NOTHING_AGAIN, settings.RESUME_SECONDS)
    try:
        async with asyncio.timeout(RELEASE_SECONDS):
            worker = await in_thread(lambda: Worker.objects.filter(name=name).first())
            if worker is not None:
                secret = settings.WORKER_SECRET
                session = await WorkerSession.attach(worker.url, secret, kept)
                await session.close()
    except NoSession:
        log.info("%s has nothing of %s", name, conversation.pk)
    except (PersonaplexError, TimeoutError, DatabaseProblem) as error:
        log.warning(
            "%s could not be asked to free the slot of %s: %r",
            name,
            conversation.pk,
            error,
        )


async def rebuild(
    request: SessionRequest,
    fingerprint: str,
    behind: FrameLog,
    deadline: float,
    avoid: str,
) -> tuple[Worker, WorkerSession]:
    """A session with ``behind`` behind it, on the first worker of that model that has
    a place; ``avoid``: one that is asked last. NoWorker or WorkerBusy when there was
    none by ``deadline`` (of time.monotonic)."""
    while True:
        workers = await retry_until(lambda: candidates(fingerprint, avoid), deadline)
        try:
            return await open_session(workers, request, behind)
        except (NoWorker, WorkerBusy):
            if time.monotonic() + RETRY_SECONDS > deadline:
                raise
        await asyncio.sleep(RETRY_SECONDS)


def candidates(fingerprint: str, avoid: str) -> list[Worker]:
    workers = Worker.objects.open().filter(fingerprint=fingerprint)
    return sorted(workers, key=lambda worker: worker.name == avoid)


async def retry_until(work: Callable[[], T], deadline: float) -> T:
    """Ask the database, and again while it is away; NoWorker after ``deadline``."""
    try:
        return await in_thread_until(work, deadline, RETRY_SECONDS)
    except DatabaseProblem as error:
        raise NoWorker(f"the database is away: {error}") from error
