"""Who may talk now, and on which worker.

Owns the choice of a worker and what is said when there is none. Knows no sockets of
the browser.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone

from conversations.models import Conversation, TooManyConversations
from inference.engine.api import Sampling
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
from personas.models import Persona, PersonaVersion, Voice

log = logging.getLogger(__name__)

NO_WORKER_RETRY_S = 30.0  # a supervised worker with the small model is back by then
VOICE_RETRY_S = 20.0
Announce = Callable[[str], Awaitable[None]]


class VoiceNotReady(PersonaplexError):
    code = "voice_not_ready"
    text = (
        "The voice of this persona is being prepared for the model that is running "
        "now. Please try again in about half a minute."
    )
    retryable = True


@dataclass(frozen=True)
class Plan:
    """What a conversation will be held with, and where it may be held."""

    version: PersonaVersion
    workers: list[Worker]


def make_plan(user: AbstractBaseUser, persona: Persona) -> Plan:
    """Blocking. Raises TooManyConversations, NoWorker or VoiceNotReady."""
    if Conversation.objects.of(user).live().count() >= settings.CONVERSATIONS_PER_USER:
        raise TooManyConversations(f"{user} has no place left")
    workers = list(Worker.objects.open())
    if not workers:
        raise NoWorker("no worker is ready")
    version = persona.current
    if version.voice is not None:
        workers = _fitting(version.voice, workers)
    return Plan(version, workers)


def _fitting(voice: Voice, workers: list[Worker]) -> list[Worker]:
    """The workers whose model understands the voice prompt."""
    fitting = [w for w in workers if voice.is_current(w.fingerprint)]
    if not fitting and not voice.ready_for(workers[0].fingerprint):
        raise VoiceNotReady(f"voice {voice.pk} is of model {voice.fingerprint}")
    return fitting or workers


async def open_session(
    conversation: str, plan: Plan, sampling: Sampling
) -> tuple[Worker, WorkerSession]:
    """A primed session on the first worker that takes it."""
    voice = plan.version.voice
    wanted = Open(
        conversation=conversation,
        role_prompt=plan.version.role_prompt,
        voice=voice.digest if voice else "",
        sampling=sampling,
    )
    refusals: list[PersonaplexError] = []
    for worker in plan.workers:
        try:
            session = await WorkerSession.connect(
                worker.url, settings.WORKER_SECRET, wanted, lambda: read_prompt(voice)
            )
        except (WorkerBusy, NoWorker, WorkerLost, WorkerStopping) as error:
            log.info("worker %s: %s (%s)", worker.name, error.code, error)
            refusals.append(error)
        else:
            return worker, session
    busy = [error for error in refusals if isinstance(error, WorkerBusy)]
    raise busy[0] if busy else NoWorker("; ".join(map(str, refusals)))


async def read_prompt(voice: Voice | None) -> bytes:
    if voice is None:
        raise VoicePromptError("a voice was asked for where there is none")
    try:
        return await asyncio.to_thread(_read, voice)
    except OSError as error:
        raise VoicePromptError(
            f"voice {voice.pk}: {error}",
            text="The file of this voice is missing. Please upload it again.",
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
        return _until_a_place_is_free()
    return None


def _until_a_place_is_free() -> float:
    """The oldest live conversation's age against how long they last of late."""
    recent = Conversation.objects.exclude(ended_at=None).order_by("-ended_at")[:20]
    times = recent.values_list("started_at", "ended_at")
    lengths = [(end - start).total_seconds() for start, end in times if end]
    typical = median(lengths) if lengths else 60.0
    oldest = (
        Conversation.objects.live().order_by("started_at").values_list("started_at")
    ).first()
    age = (timezone.now() - oldest[0]).total_seconds() if oldest else 0.0
    return round(min(max(typical - age, 5.0), settings.CONVERSATION_MAX_SECONDS))
