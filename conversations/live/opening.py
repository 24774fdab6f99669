"""How a conversation begins or is resumed: its row, its log, its codecs.

Everything here blocks on the database and runs in a thread. It must not depend on the
browser's socket nor on how a worker is reached.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone

from conversations.audio import opus
from conversations.errors import EndReason
from conversations.frame_log.resume import ResumePoint, read_resume_point
from conversations.frame_log.writer import FrameLogWriter
from conversations.live import context_window, wire
from conversations.live.admission import SessionRequest
from conversations.live.audio_path import AudioPath
from conversations.live.browser import BrowserSide
from conversations.live.state import LiveState
from conversations.models import Conversation
from conversations.models.resume_token import digest_of, new_token
from inference.models import Worker
from inference.timing import FRAME_SECONDS
from inference.worker.client import WorkerSession
from inference.worker.protocol import Ready
from personas.models import Persona


def begin(
    user: AbstractBaseUser,
    start: wire.Start,
    browser: BrowserSide,
    request: SessionRequest,
    worker: Worker,
    session: WorkerSession,
) -> LiveState:
    """The conversation of a session that was just opened. TooManyConversations."""
    ready, token = session.ready, new_token()
    wanted = replace(request.open, pin_prompt=ready.pin_prompt)
    row = Conversation.begin(
        user,
        id=uuid.UUID(wanted.conversation),
        persona_version=request.version,
        worker_name=worker.name,
        model=ready.model,
        fingerprint=ready.fingerprint,
        sampling=wire.sampling_event(wanted.sampling),
        prompt_frames=ready.prompt_frames,
        prime_ms=ready.prime_ms,
        voice_digest=wanted.voice,
        pin_prompt=ready.pin_prompt,
        sound_frames=ready.sound_frames,
        lease=uuid.uuid4(),
        resume_hash=digest_of(token),
    )
    log_writer = FrameLogWriter(row)
    return LiveState(
        row,
        replace(request, open=wanted),
        token,
        ResumePoint(),
        log_writer,
        AudioPath(start.audio, browser.outbox, log_writer),
        browser.put_event,
        time.monotonic() + settings.CONVERSATION_MAX_SECONDS,
        resumed=False,
    )


def resume(
    user: AbstractBaseUser,
    persona: Persona,
    start: wire.Start,
    browser: BrowserSide,
    wanted: wire.Resume,
) -> LiveState:
    """A conversation that was live before, from where its log ends. ResumeImpossible;
    Superseded if another process was quicker."""
    row, token = Conversation.claim(user, persona.pk, wanted.conversation, wanted.token)
    try:
        resume_point = read_resume_point(row)
        decoder = opus.Decoder()
        for packet in resume_point.user_packets:
            decoder.decode_or_silence(packet)
        request = SessionRequest.from_row(row)
    except Exception:
        row.finish(EndReason.SITE_ERROR)
        raise
    elapsed = timezone.now() - row.started_at
    silent = elapsed - timedelta(milliseconds=resume_point.received_ms)
    elapsed_s = elapsed.total_seconds()
    log_writer = FrameLogWriter(row, resume_point.frame)
    path = AudioPath(
        start.audio,
        browser.outbox,
        log_writer,
        resume_point,
        decoder=decoder,
        elapsed_s=elapsed_s,
        silent_s=max(0.0, silent.total_seconds()),
        have=wanted.have,
    )
    return LiveState(
        row,
        request,
        token,
        resume_point,
        log_writer,
        path,
        browser.put_event,
        time.monotonic() + settings.CONVERSATION_MAX_SECONDS - elapsed_s,
        resumed=True,
    )


def ready_event(state: LiveState, ready: Ready) -> dict[str, object]:
    """What the browser is sent as soon as it may speak; docs/protocol.md."""
    row, path = state.row, state.path
    return {
        "conversation": str(row.pk),
        "model": ready.model,
        "trained": ready.trained,
        "prime_ms": round(ready.prime_ms, 1),
        "context_seconds": round(ready.context_frames * FRAME_SECONDS, 1),
        "max_seconds": round(state.ends_at - state.ready_at),
        "seed": row.sampling["seed"],
        "sampling": row.sampling,
        "resume": state.resume_token,
        "resume_seconds": settings.RESUME_SECONDS,
        "resumed": state.resumed,
        "frame": path.frame,
        "next_seq": path.next_seq,
        "rewinds": ready.sound_frames > 0,
        "when_full": context_window.when_full(ready),
    }
