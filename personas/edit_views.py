"""The page of a persona: its name, role prompt and voice."""

from __future__ import annotations

import uuid
from typing import cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from personas.editing import (
    Conflict,
    EditConflict,
    Loaded,
    loaded_again,
    save,
    with_choices,
)
from personas.forms import EditPersonaForm, NewPersonaForm, VoiceForm
from personas.models import Persona, PersonaVersion, Voice
from personas.progress import addresses
from personas.prompt_room import room_of
from personas.views import form_context, has_recordings, render_create
from personas.voice_choices import default_voice, problem_of, same_on_offer

CHANGED = 409  # HTTP: Conflict; the page was loaded before the newest change


def persona_edit(request: HttpRequest, persona_id: uuid.UUID) -> HttpResponse:
    mine = Persona.objects.filter(owner=request.user.pk)
    persona = get_object_or_404(mine, pk=persona_id)
    if persona.deleted_at is not None:
        if request.method != "POST":
            raise Http404
        return _offer_new(request, persona)
    current = persona.current
    user, voice = request.user, same_on_offer(current.voice)
    if request.method != "POST":
        loaded = Loaded.of(persona, current).as_json()
        shown = {"name": persona.name, "role_prompt": current.role_prompt}
        form = EditPersonaForm(
            initial={**shown, "loaded": loaded}, user=user, voice=voice
        )
        return _render(request, persona, form)
    data = with_choices(request.POST, persona, current)
    form = EditPersonaForm(data, user=user, voice=voice)
    if not form.is_valid():
        return _render(request, persona, form, status=400)
    try:
        save(persona, form.cleaned_data, "voice_choice" in form.changed_data)
    except EditConflict as error:
        return _let_choose(request, persona, error.conflicts)
    messages.success(request, "Saved.", extra_tags=form.cleaned_data["draft"])
    if request.POST.get("then") == "talk":
        return redirect("conversation_talk", persona_id)
    return redirect("persona_edit", persona_id)


def _let_choose(
    request: HttpRequest, persona: Persona, conflicts: dict[str, Conflict]
) -> HttpResponse:
    """The same page with what was sent and what is saved by now, side by side."""
    persona.refresh_from_db()
    if persona.deleted_at is not None:
        return _offer_new(request, persona)
    current = persona.current
    voice = same_on_offer(current.voice)
    data = loaded_again(request.POST, persona, current, voice)
    form = EditPersonaForm(data, user=request.user, voice=voice)
    return _render(request, persona, form, conflicts, CHANGED)


def _offer_new(request: HttpRequest, persona: Persona) -> HttpResponse:
    """It was deleted meanwhile: what was written makes a new persona, if wanted."""
    user = cast(User, request.user)
    chosen = request.POST.get("voice_choice", "")
    offered = EditPersonaForm(request.POST, user=user, voice=None)
    offered.is_valid()
    voice = offered.cleaned_data.get("voice_choice") if chosen else None
    sent = {name: request.POST.get(name, "") for name in ("name", "role_prompt")}
    form = NewPersonaForm(initial=sent, user=user, voice=voice or default_voice())
    return render_create(request, form, CHANGED, deleted=persona)


def _render(
    request: HttpRequest,
    persona: Persona,
    form: EditPersonaForm,
    conflicts: dict[str, Conflict] | None = None,
    status: int = 200,
) -> HttpResponse:
    current = persona.current
    upload = persona.voice_uploads.select_related("voice").first()
    context = {
        **form_context(form),
        "persona": persona,
        "current": current,
        "conflicts": conflicts,
        "voice_problem": problem_of(current.voice),
        "prompt_problem": _prompt_problem(current, same_on_offer(current.voice)),
        "voice_form": VoiceForm(),
        "has_recordings": has_recordings(request),
        "upload": upload,
        "following": addresses(upload) if upload and not upload.finished else None,
    }
    return render(request, "personas/persona_edit.html", context, status=status)


def _prompt_problem(current: PersonaVersion, voice: Voice | None) -> str:
    """What was kept may no longer fit: a longer voice came, or another model."""
    room = room_of(current.role_prompt, voice.seconds if voice else 0.0)
    return room.problem if room else ""
