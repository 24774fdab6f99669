"""Pages of conversations: talk, list, review and what the review is made of.

Only the owner sees a conversation, and staff with the permission to view all of them,
whose every look is recorded. For anyone else it does not exist (404).
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from csp.constants import NONCE, SELF
from csp.decorators import csp_update
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from conversations.frame_log.format import FrameLogTooLong
from conversations.frame_log.reader import FrameLogReader
from conversations.live.wire import sampling_choices
from conversations.models import Conversation, Levels
from conversations.review.client_metrics import client_metrics
from conversations.review.events import events
from conversations.review.latency import latency
from conversations.review.levels import envelope
from conversations.review.recording import RecordingSide, recording
from conversations.review.transcript import transcript
from inference.models import Worker
from inference.timing import FRAME_MS, FRAME_SECONDS
from personaplex_site.answers import Problem, json_answer, wants_json
from personaplex_site.audit import record_look
from personaplex_site.lists import page_of
from personaplex_site.methods import post_only
from personaplex_site.ranges import bytes_response
from personas.models import Persona, PersonaVersion

log = logging.getLogger(__name__)

View = Callable[..., HttpResponse]
TOO_LONG = Problem(
    "frame_log_too_long",
    "This conversation is too long to be shown or played in one piece. One side alone "
    "may still be downloaded; an administrator of the site can raise MAX_FRAME_LOG_MB.",
)
TOO_LONG_STATUS = 422
READ, HEARD = "Read the conversation", "Listened to the recording"
# What its process takes to see that it is asked to end, and to write the end.
END_SECONDS = 4.0
END_LOOK_SECONDS = 0.1
SMALL_MODEL = "tiny"  # ours: the page says what it can't do
# The waveform is drawn in a shadow tree with a style sheet of its own. (The cast:
# django-csp's types know only views without arguments.)
allow_styles_with_nonce = cast(
    "Callable[[View], View]", csp_update({"style-src": [SELF, NONCE]})
)


@login_required
@require_safe
def conversation_talk(request: HttpRequest, persona_id: UUID) -> HttpResponse:
    persona = get_object_or_404(Persona.objects.of(request.user), pk=persona_id)
    version = persona.current
    context = {
        "persona": persona,
        "version": version,
        "socket_path": f"{settings.URL_PREFIX}/ws/personas/{persona.pk}/talk/",
        "max_seconds": settings.CONVERSATION_MAX_SECONDS,
        "worker": _worker_state(version),
        "too_slow": Worker.objects.too_slow(),
        "sampling_choices": sampling_choices(),
    }
    return render(request, "conversations/talk.html", context)


def _worker_state(version: PersonaVersion) -> dict[str, Any] | None:
    """The worker that a conversation would go to now."""
    workers = list(Worker.objects.open())
    if not workers:
        return None
    voice = version.voice
    models = [w.fingerprint for w in workers]
    found = voice.found_for(models) if voice else None
    fitting = [w for w in workers if found and found.is_current(w.fingerprint)]
    worker = (fitting or workers)[0]
    return {
        "model": worker.model,
        "trained": worker.trained,
        "small": worker.trained and worker.model == SMALL_MODEL,
        "free": sum(max(0, w.slots - w.sessions) for w in workers),
        "slots": sum(w.slots for w in workers),
        "context_seconds": worker.context_frames * FRAME_SECONDS,
        "tick_ms": worker.tick_p99_ms,
        "too_slow": worker.tick_p50_ms > FRAME_MS,
        "voice_problem": voice.why_not(models).text if voice and not found else "",
    }


@login_required
@require_safe
def conversation_list(request: HttpRequest) -> HttpResponse:
    conversations = Conversation.objects.of(request.user).select_related(
        "persona_version__persona"
    )
    persona = None
    if wanted := request.GET.get("persona"):
        persona = _own_persona(request, wanted)
        conversations = conversations.filter(persona_version__persona=persona)
    page = page_of(request, conversations, settings.CONVERSATIONS_PER_PAGE)
    context = {"page": page, "persona": persona}
    return render(request, "conversations/list.html", context)


def _own_persona(request: HttpRequest, key: str) -> Persona | None:
    """Deleted ones too: their conversations are still there."""
    try:
        return Persona.objects.filter(owner=request.user.pk, pk=UUID(key)).first()
    except ValueError:
        return None


def explain_too_long(view: View) -> View:
    """Beyond the bound of what is read at once nothing is shown, but the reason is."""

    @functools.wraps(view)
    def read_or_explain(
        request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except FrameLogTooLong as error:
            log.warning("not shown: %s", error)
            if wants_json(request):
                return json_answer(TOO_LONG, TOO_LONG_STATUS)
            text = f"{TOO_LONG.text}\n"
            return HttpResponse(text, "text/plain", TOO_LONG_STATUS)

    return read_or_explain


def _visible(request: HttpRequest, pk: UUID, what: str) -> Conversation:
    """404, or recorded as a look at ``what``."""
    visible = Conversation.objects.visible_to(request.user)
    with_names = visible.select_related("persona_version__persona", "owner")
    conversation = get_object_or_404(with_names, pk=pk)
    record_look(request.user, conversation, what)
    return conversation


@login_required
@require_safe
@allow_styles_with_nonce
def conversation_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    conversation = _visible(request, pk, READ)
    conversation.read_figures()
    mine = _is_mine(request, conversation)
    version = conversation.persona_version
    context = {
        "conversation": conversation,
        "mine": mine,
        "user_name": "You" if mine else conversation.owner.get_username(),
        "end_text": _end_text(conversation, mine),
        "persona": version.persona,
        "version": version,
        "duration_s": conversation.duration_s,
        "data_url": reverse("conversation_data", args=[pk]),
        "levels_url": reverse("conversation_levels", args=[pk]),
        "end_url": reverse("conversation_end", args=[pk]) if mine else None,
        "delete_url": reverse("conversation_delete", args=[pk]) if mine else None,
        **{f"{side}_url": url for side, url in _recordings(pk).items()},
    }
    return render(request, "conversations/detail.html", context)


def _is_mine(request: HttpRequest, conversation: Conversation) -> bool:
    return bool(conversation.owner_id == request.user.pk)


def _end_text(conversation: Conversation, mine: bool) -> str:
    return conversation.end_text if mine else conversation.get_end_reason_display()


def _recordings(pk: UUID) -> dict[str, str]:
    return {
        side: reverse("conversation_recording", args=[pk, side])
        for side in ("user", "agent", "both")
    }


@login_required
@require_safe
@explain_too_long
def conversation_data(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What docs/review-data.md describes."""
    conversation = _visible(request, pk, READ)
    conversation.read_figures()
    reader = FrameLogReader(conversation)
    reader.load("timings", "pieces", "client_stats")
    end = {
        "reason": conversation.end_reason,
        "text": _end_text(conversation, _is_mine(request, conversation)),
    }
    return JsonResponse(
        {
            "conversation": str(pk),
            "persona": conversation.persona_version.persona.name,
            "model": conversation.model,
            "started_at": conversation.started_at.isoformat(),
            "live": conversation.is_live,
            "duration_s": reader.times.seconds,
            "end": None if conversation.is_live else end,
            "counts": {
                "frames": conversation.frames,
                "dropped": conversation.dropped_frames,
                "late": conversation.late_frames,
                "missing": conversation.missing_frames,
                "unwritten": conversation.unwritten_frames,
            },
            "recordings": _recordings(pk),
            "transcript": transcript(reader),
            "latency": latency(reader),
            "events": events(reader),
            "client_metrics": client_metrics(reader),
        }
    )


@login_required
@require_safe
def conversation_levels(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The waveform's levels; 202 while they are being made. Pages ask again, so it
    reads nothing of the frame log."""
    conversation = _visible(request, pk, READ)
    levels = Levels.objects.filter(conversation=conversation).first()
    if levels is not None:
        return JsonResponse({"ready": True, **envelope(levels)})
    conversation.ask_for_analysis()
    return JsonResponse({"ready": False}, status=202)


@login_required
@require_safe
@explain_too_long
def conversation_recording(request: HttpRequest, pk: UUID, side: str) -> HttpResponse:
    conversation = _visible(request, pk, HEARD)
    sound = recording(FrameLogReader(conversation), cast(RecordingSide, side))
    response = bytes_response(request, sound, "audio/ogg")
    if conversation.is_live:
        response["Cache-Control"] = "no-store"  # a second later there is more of it
    if "download" in request.GET:
        name = f"conversation-{conversation.started_at:%Y-%m-%d-%H%M}-{side}.ogg"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@login_required
@post_only
def conversation_end(request: HttpRequest, pk: UUID) -> HttpResponse:
    """From the page of a conversation that is open elsewhere."""
    conversation = get_object_or_404(Conversation.objects.of(request.user), pk=pk)
    if conversation.is_live:
        conversation.ask_to_end()
    last = time.monotonic() + END_SECONDS
    while conversation.is_live and time.monotonic() < last:
        time.sleep(END_LOOK_SECONDS)
        conversation.refresh_from_db(fields=["ended_at"])
    if conversation.is_live:
        messages.info(request, "The conversation ends in a few seconds.")
    else:
        messages.success(request, "The conversation has ended.")
    return redirect(conversation)


@login_required
@post_only
def conversation_delete(request: HttpRequest, pk: UUID) -> HttpResponse:
    conversation = get_object_or_404(Conversation.objects.of(request.user), pk=pk)
    if Conversation.objects.live().filter(pk=pk).exists():
        messages.error(request, "End the conversation before deleting it.")
        return redirect(conversation)
    conversation.delete()
    messages.success(request, "The conversation was deleted.")
    return redirect("conversation_list")
