"""Who may talk now, on which worker, and what that worker is asked for.

Must not depend on the browser's socket.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser

from conversations.models import Conversation
from conversations.models.queue import seconds_until_free
from inference.engine.api import FrameLog, Sampling
from inference.errors import (
    NoWorker,
    PersonaplexError,
    VoicePromptError,
    WorkerBusy,
    WorkerLost,
    WorkerStopping,
)
from inference.models import Worker
from inference.worker.client import WorkerSession
from inference.worker.protocol import Open
from personas.errors import VoiceNotReady
from personas.models import Persona, PersonaVersion, Voice

logger = logging.getLogger(__name__)

NO_WORKER_RETRY_S = 30.0  # a supervised worker with the small model is back by then
VOICE_RETRY_S = 20.0
BUSY_RETRY_S = 15.0  # where no guess is possible of when a slot is free


@dataclass(frozen=True)
class SessionRequest:
    """What is asked of a worker, the same wherever the conversation moves."""

    open: Open
    version: PersonaVersion
    voice: Voice | None  # the version's, as the workers' model understands it

    @classmethod
    def from_row(cls, row: Conversation) -> SessionRequest:
        """Blocking. As the conversation began. The file of a voice that was deleted
        since may still be in the worker's memory."""
        digest, version = row.voice_digest, row.persona_version
        wanted = _open(
            row.pk, version, digest, Sampling(**row.sampling), row.pin_prompt
        )
        voice = Voice.objects.filter(digest=digest).first() if digest else None
        return cls(wanted, version, voice)

    async def prompt(self) -> bytes:
        return await read_prompt(self.voice)


def _open(
    conversation: uuid.UUID,
    version: PersonaVersion,
    voice: str,
    sampling: Sampling,
    pin_prompt: bool | None = None,
) -> Open:
    return Open(
        conversation=str(conversation),
        role_prompt=version.role_prompt,
        voice=voice,
        sampling=sampling,
        keep_s=settings.RESUME_SECONDS,
        pin_prompt=pin_prompt,
    )


@dataclass(frozen=True)
class Admission:
    """A user who may talk now."""

    request: SessionRequest
    workers: list[Worker]  # that may take it
    # Of the same user, ended to make room: their slots are to be released first.
    ended: list[Conversation]


def admit(
    user: AbstractBaseUser, persona: Persona, pk: uuid.UUID, sampling: Sampling
) -> Admission:
    """Blocking. For a conversation that will have the id ``pk``. Raises
    TooManyConversations, NoWorker or as ``Voice.for_models``."""
    workers = list(Worker.objects.open())
    if not workers:
        raise NoWorker("no worker is ready")
    version, voice = persona.current, None
    if version.voice is not None:
        voice = version.voice.for_models([w.fingerprint for w in workers])
        workers = [w for w in workers if voice.is_current(w.fingerprint)]
    wanted = _open(pk, version, voice.digest if voice else "", sampling)
    request = SessionRequest(wanted, version, voice)
    return Admission(request, workers, Conversation.objects.make_room(user))


async def open_session(
    workers: list[Worker], request: SessionRequest, log: FrameLog | None = None
) -> tuple[Worker, WorkerSession]:
    """A primed session on the first worker that takes it, which has ``log`` behind it.
    Raises what a worker had against it; WorkerBusy or NoWorker if none has a place."""
    refusals: list[PersonaplexError] = []
    for worker in workers:
        try:
            session = await WorkerSession.connect(
                worker.url,
                settings.WORKER_SECRET,
                request.open,
                request.prompt,
                log=log,
            )
        except (WorkerBusy, NoWorker, WorkerLost, WorkerStopping) as error:
            logger.info("worker %s: %s (%s)", worker.name, error.code, error)
            refusals.append(error)
        else:
            return worker, session
    busy = [error for error in refusals if isinstance(error, WorkerBusy)]
    raise busy[0] if busy else NoWorker("; ".join(map(str, refusals)) or "none is up")


async def read_prompt(voice: Voice | None) -> bytes:
    if voice is None:
        raise VoicePromptError("a voice was asked for where there is none")
    try:
        return await asyncio.to_thread(_read, voice)
    except (OSError, ValueError) as error:  # ValueError: it was deleted meanwhile
        raise VoicePromptError(
            f"voice {voice.pk}: {error}",
            text="The file of this voice is missing. Please upload it again, or choose "
            "another voice.",
        ) from error


def _read(voice: Voice) -> bytes:
    with voice.prompt.open("rb") as file:
        return bytes(file.read())


def retry_after_s(error: PersonaplexError) -> float | None:
    """Blocking. How long to wait until trying again helps, as far as one can know."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    if isinstance(error, NoWorker):
        return NO_WORKER_RETRY_S
    if isinstance(error, VoiceNotReady):
        return VOICE_RETRY_S
    if isinstance(error, WorkerBusy):
        return seconds_until_free(0) or BUSY_RETRY_S
    return None
