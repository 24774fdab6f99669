"""Pages about personas: list, create, edit, delete."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from personaplex_site.answers import wants_json
from personaplex_site.lists import page_of, searched
from personas.decoding import LENGTH_TOLERANCE
from personas.errors import megabytes
from personas.forms import EXAMPLES, NewPersonaForm, PersonaForm, form_problem
from personas.models import Persona, PersonaVersion, Voice
from personas.once import key_for
from personas.receiving import receive_voice
from personas.voice_choices import (
    default_voice,
    presets_on_offer,
)


def persona_list(request: HttpRequest) -> HttpResponse:
    latest = PersonaVersion.objects.filter(persona=OuterRef("pk")).order_by("-number")
    search = searched(request)
    mine = Persona.objects.of(request.user).filter(name__icontains=search)
    personas = mine.order_by("name", "created_at", "pk").annotate(
        role_prompt=Subquery(latest.values("role_prompt")[:1]),
        voice_name=Subquery(latest.values("voice__name")[:1]),
        voice_preset=Subquery(latest.values("voice__preset")[:1]),
    )
    context = {
        "page": page_of(request, personas, settings.PERSONAS_PER_PAGE),
        "search": search,
        "offered": {voice.preset for voice in presets_on_offer()},
        "has_recordings": has_recordings(request),
    }
    return render(request, "personas/persona_list.html", context)


def persona_create(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    voice = _wanted_voice(request) or default_voice()
    if request.method != "POST":
        return render_create(request, NewPersonaForm(user=user, voice=voice))
    post, files = request.POST, request.FILES
    too_large = getattr(request, "too_large", False)  # known once the body is read
    form = NewPersonaForm(post, files, too_large=too_large, user=user, voice=voice)
    if not form.is_valid():
        if wants_json(request):
            problem = {**asdict(form_problem(form)), "errors": form.errors}
            return JsonResponse(problem, status=413 if too_large else 400)
        return render_create(request, form, status=400)
    persona = _create_once(user, form.cleaned_data)
    draft = form.cleaned_data["draft"]
    messages.success(request, f"{persona.name} was created.", extra_tags=draft)
    url = reverse("persona_edit", args=[persona.pk])
    if wants_json(request):
        return JsonResponse({"url": url}, status=201)
    return redirect(url)


def _wanted_voice(request: HttpRequest) -> Voice | None:
    """A recording that was chosen on the page of all recordings, for a new persona."""
    try:
        key = uuid.UUID(request.GET.get("voice", ""))
    except ValueError:
        return None
    return Voice.objects.of(request.user).filter(pk=key).first()


def _create_once(user: User, cleaned: dict[str, Any]) -> Persona:
    """The one that the same form made before, if it was sent before."""
    file = cleaned.get("voice")
    name, prompt, voice = (
        cleaned[field] for field in ("name", "role_prompt", "voice_choice")
    )
    channel = cleaned["channel"]
    sent = file and (file.name, file.size, channel)
    content = [name, prompt, voice and voice.pk, sent]
    key = key_for(user.pk, cleaned["form_id"], *content)
    before = Persona.objects.filter(pk=key)
    if before.exclude(deleted_at=None).exists():
        key = uuid.uuid4()
    elif earlier := before.first():
        return earlier
    try:
        with transaction.atomic():  # no persona if its file can't be kept
            persona = Persona.begin(user, name, prompt, voice, key)
            if file:
                receive_voice(persona, file, channel)
    except IntegrityError:
        if earlier := before.first():  # made at the same moment
            return earlier
        raise
    return persona


def render_create(
    request: HttpRequest,
    form: NewPersonaForm,
    status: int = 200,
    deleted: Persona | None = None,
) -> HttpResponse:
    """``deleted``: whose changes could not be saved any more."""
    context = {**form_context(form), "deleted": deleted}
    return render(request, "personas/persona_create.html", context, status=status)


def form_context(form: PersonaForm) -> dict[str, object]:
    """What the fields of a persona need on any page. Drafts are what browsers keep of
    forms that are not saved."""
    return {
        "form": form,
        "examples": EXAMPLES,
        "voice_limits": {
            "min_seconds": settings.VOICE_MIN_SECONDS,
            "max_seconds": settings.VOICE_MAX_SECONDS,
            "max_bytes": settings.VOICE_MAX_BYTES,
            "max_size": megabytes(settings.VOICE_MAX_BYTES),
            "tolerance_seconds": LENGTH_TOLERANCE,
        },
        "draft_limits": {"days": settings.DRAFT_DAYS, "most": settings.MAX_DRAFTS},
    }


def persona_delete(request: HttpRequest, persona_id: uuid.UUID) -> HttpResponse:
    persona = get_object_or_404(Persona.objects.of(request.user), pk=persona_id)
    if request.method != "POST":
        context = {"persona": persona, "has_recordings": has_recordings(request)}
        return render(request, "personas/persona_delete.html", context)
    persona.delete_softly()
    messages.success(request, f"{persona.name} was deleted.")
    return redirect("persona_list")


def has_recordings(request: HttpRequest) -> bool:
    return Voice.objects.of(request.user).exists()
