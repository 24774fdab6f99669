"""How a conversation comes to its holder: begun anew, or taken up again.

Owns what has to be there before it can go on: row, log, codecs, and for a new one a
primed session. Knows no socket of the browser.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone

from conversations.audio import opus
from conversations.errors import EndReason
from conversations.frame_log.resume import ResumePoint, read_resume_point
from conversations.frame_log.writer import FrameLogWriter
from conversations.live import context_window, wire
from conversations.live.admission import Plan, Wanted
from conversations.live.audio_path import AudioPath
from conversations.live.outbox import Outbox
from conversations.live.state import Held, Say
from conversations.models import Conversation
from conversations.models.resume_token import digest_of, new_token
from inference.models import Worker
from inference.timing import FRAME_SECONDS
from inference.worker.client import WorkerSession
from inference.worker.protocol import Ready
from personas.models import Persona


@dataclass
class Opened:
    """A conversation as it comes to its holder; ``session`` None: to be regained."""

    row: Conversation
    token: str  # to come back with
    wanted: Wanted
    resume_point: ResumePoint
    decoder: opus.Decoder
    session: WorkerSession | None = None
    elapsed_s: float = 0.0
    silent_s: float = 0.0

    def held(self, start: wire.Start, outbox: Outbox, say: Say) -> Held:
        recorder = FrameLogWriter(self.row, self.resume_point.frame)
        path = AudioPath(
            start.audio,
            outbox,
            recorder,
            self.resume_point,
            decoder=self.decoder,
            elapsed_s=self.elapsed_s,
            silent_s=self.silent_s,
            have=start.resume.have if start.resume else -1,
        )
        return Held(self.row, self.wanted, recorder, path, say)


def begin(
    user: AbstractBaseUser,
    pk: uuid.UUID,
    plan: Plan,
    wanted: Wanted,
    worker: Worker,
    session: WorkerSession,
) -> Opened:
    """Blocking. The row of a session that was just opened. TooManyConversations."""
    ready, token = session.ready, new_token()
    wanted = replace(wanted, open=replace(wanted.open, pin_prompt=ready.pin_prompt))
    row = Conversation.begin(
        user,
        id=pk,
        persona_version=plan.version,
        worker_name=worker.name,
        model=ready.model,
        fingerprint=ready.fingerprint,
        sampling=wire.sampling_event(wanted.open.sampling),
        prompt_frames=ready.prompt_frames,
        prime_ms=ready.prime_ms,
        voice_digest=wanted.open.voice,
        pin_prompt=ready.pin_prompt,
        sound_frames=ready.sound_frames,
        holder=uuid.uuid4(),
        resume_hash=digest_of(token),
    )
    return Opened(row, token, wanted, ResumePoint(), opus.Decoder(), session)


def take_up(user: AbstractBaseUser, persona: Persona, resume: wire.Resume) -> Opened:
    """Blocking. Raises ResumeImpossible, or Superseded if somebody was quicker."""
    row, token = Conversation.claim(user, persona.pk, resume.conversation, resume.token)
    try:
        resume_point = read_resume_point(row)
        decoder = opus.Decoder()
        for packet in resume_point.user_packets:
            decoder.decode_or_silence(packet)
        wanted = Wanted.again(row)
    except Exception:
        row.finish(EndReason.SITE_ERROR)
        raise
    elapsed = timezone.now() - row.started_at
    silent = elapsed - timedelta(milliseconds=resume_point.received_ms)
    return Opened(
        row,
        token,
        wanted,
        resume_point,
        decoder,
        elapsed_s=elapsed.total_seconds(),
        silent_s=max(0.0, silent.total_seconds()),
    )


def ready_event(
    opened: Opened, held: Held, ready: Ready, left_s: float
) -> dict[str, object]:
    """What the browser is told as soon as it may speak; docs/protocol.md."""
    row, path = held.row, held.path
    return {
        "conversation": str(row.pk),
        "model": ready.model,
        "trained": ready.trained,
        "prime_ms": round(ready.prime_ms, 1),
        "context_seconds": round(ready.context_frames * FRAME_SECONDS, 1),
        "max_seconds": round(left_s),
        "seed": row.sampling["seed"],
        "sampling": row.sampling,
        "resume": opened.token,
        "resume_seconds": settings.RESUME_SECONDS,
        "resumed": opened.session is None,
        "frame": path.frame,
        "next_seq": path.next_seq,
        "rewinds": ready.sound_frames > 0,
        "when_full": context_window.when_full(ready),
    }
