"""What the page of a persona asks while its role prompt is being written."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, JsonResponse

from personaplex_site.methods import post_only
from personas.models import Voice
from personas.plain_text import costly, plain
from personas.prompt_room import Room, room_of

MAX_HINTS = 3


@post_only
def role_prompt_room(request: HttpRequest) -> JsonResponse:
    """``tokens`` and ``fits`` are null while no model is known, or where there is so
    much text that its characters alone say enough."""
    text = request.POST.get("role_prompt", "").replace("\r\n", "\n")
    if len(text) > 2 * settings.ROLE_PROMPT_MAX_CHARACTERS:
        return _answer(None)
    seconds = voice_seconds(request)
    room = room_of(text, seconds)
    if room is None:
        return _answer(None)
    plainer = plain(text)
    cheaper = room_of(plainer, seconds) if plainer != text else None
    if cheaper is None or cheaper.tokens >= room.tokens:
        return _answer(room)
    hint = _hint(costly(text)[:MAX_HINTS], room.tokens - cheaper.tokens)
    return _answer(room, hint=hint, plain=plainer)


def _hint(kinds: list[str], saved: int) -> str:
    """As in "Accents and emoji take 7 tokens more than plain characters"."""
    named = " and ".join(filter(None, [", ".join(kinds[:-1]), *kinds[-1:]]))
    tokens = "1 token" if saved == 1 else f"{saved} tokens"
    return f"{named.capitalize()} take {tokens} more than plain characters."


def voice_seconds(request: HttpRequest) -> float:
    """Of the recording that is sent along, or of the voice that is chosen."""
    if request.POST.get("recording"):
        return float(settings.VOICE_USED_SECONDS)
    chosen = request.POST.get("voice_choice", "")
    try:
        voice = Voice.objects.usable_by(request.user).get(pk=chosen)
    except (Voice.DoesNotExist, ValidationError):
        return 0.0
    return voice.seconds


def _answer(room: Room | None, **more: str) -> JsonResponse:
    figures = {"tokens": room and room.tokens, "fits": room and room.fits}
    response = JsonResponse({**figures, "hint": "", "plain": "", **more})
    response["Cache-Control"] = "no-store"
    return response
