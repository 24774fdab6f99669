"""Voice samples over HTTP: sending one, following, playing and deleting it."""

from __future__ import annotations

import logging
import uuid

from django.conf import settings
from django.contrib import messages
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import (
    require_http_methods,
    require_safe,
)

from personaplex_site.answers import json_answer, wants_json
from personaplex_site.audit import record_look
from personaplex_site.lists import page_of, searched
from personaplex_site.methods import post_only
from personaplex_site.ranges import bytes_response
from personas.forms import VoiceForm, form_problem
from personas.models import Persona, Voice
from personas.models.upload import VoiceUpload
from personas.once import key_for
from personas.progress import addresses, payload
from personas.receiving import receive_voice
from personas.speakers import speakers_of
from personas.voice_choices import default_voice

log = logging.getLogger(__name__)


@post_only
def voice_upload(request: HttpRequest, persona_id: uuid.UUID) -> HttpResponse:
    """201 with the upload to follow, or 400 and 413 with what is wrong; error_pages
    tells of all other errors. Without JavaScript a redirect to the persona, which says
    the same."""
    persona = get_object_or_404(Persona.objects.of(request.user), pk=persona_id)
    post, files = request.POST, request.FILES
    too_large = getattr(request, "too_large", False)  # known once the body is read
    form = VoiceForm(post, files, too_large=too_large)
    if form.is_valid():
        file, form_id = form.cleaned_data["voice"], form.cleaned_data["form_id"]
        channel = form.cleaned_data["channel"]
        content = (persona.pk, file.name, file.size, channel)
        key = key_for(request.user.pk, form_id, *content)
        upload = receive_voice(persona, file, channel, key)
        if wants_json(request):
            return JsonResponse(addresses(upload), status=201)
    else:
        problem = form_problem(form)
        if wants_json(request):
            return json_answer(problem, 413 if too_large else 400)
        messages.error(request, problem.text)
    return redirect("persona_edit", persona_id)


@require_safe
def voice_upload_status(request: HttpRequest, upload_id: uuid.UUID) -> JsonResponse:
    """The payload that the socket would send: for pages that have no socket."""
    uploads = VoiceUpload.objects.of(request.user).select_related("voice")
    response = JsonResponse(payload(get_object_or_404(uploads, pk=upload_id)))
    response["Cache-Control"] = "no-store"
    return response


@require_safe
def voice_sample(request: HttpRequest, voice_id: uuid.UUID) -> HttpResponse:
    """The prepared sample, for the ears of its owner and of people who may view all
    voices."""
    voice = get_object_or_404(Voice.objects.visible_to(request.user), pk=voice_id)
    try:
        with voice.sample.open("rb") as file:
            content = file.read()
    except (FileNotFoundError, ValueError) as error:
        log.error("voice %s has no sample: %s", voice_id, error)
        raise Http404("This sample is missing.") from error
    record_look(request.user, voice, "Listened to the sample")
    return bytes_response(request, content, "audio/flac")


@require_safe
def voice_list(request: HttpRequest) -> HttpResponse:
    """With ``?for=new`` or ``?for=`` a persona's key, each can be chosen for it."""
    search = searched(request)
    voices = Voice.objects.of(request.user).filter(name__icontains=search)
    page = page_of(request, voices, settings.VOICES_PER_PAGE)
    speakers = speakers_of(page)
    wanted = request.GET.get("for", "")
    context = {
        "page": page,
        "rows": [(voice, speakers[voice.pk]) for voice in page],
        "search": search,
        "for": wanted,
        "for_persona": own_persona(request, wanted),
    }
    return render(request, "personas/voice_list.html", context)


def own_persona(request: HttpRequest, key: str) -> Persona | None:
    try:
        return Persona.objects.of(request.user).filter(pk=uuid.UUID(key)).first()
    except ValueError:
        return None


@post_only
def voice_choose(
    request: HttpRequest, persona_id: uuid.UUID, voice_id: uuid.UUID
) -> HttpResponse:
    """The persona speaks with this recording from now on."""
    persona = get_object_or_404(Persona.objects.of(request.user), pk=persona_id)
    voice = get_object_or_404(Voice.objects.of(request.user), pk=voice_id)
    persona.revise(voice=voice)
    messages.success(request, f"{persona.name} speaks with “{voice.name}” now.")
    return redirect("persona_edit", persona_id)


@require_http_methods(["GET", "HEAD", "POST"])
def voice_delete(request: HttpRequest, voice_id: uuid.UUID) -> HttpResponse:
    """For good; the page before says what that means."""
    voice = get_object_or_404(Voice.objects.of(request.user), pk=voice_id)
    instead = default_voice()
    if request.method != "POST":
        context = {
            "voice": voice,
            "instead": instead,
            "speakers": speakers_of([voice])[voice.pk],
            "conversations": voice.versions.aggregate(n=Count("conversations"))["n"],
        }
        return render(request, "personas/voice_delete.html", context)
    voice.erase(instead)
    log.info("voice %s deleted by its owner", voice_id)
    messages.success(request, "The recording and everything made from it is deleted.")
    return redirect("voice_list")
