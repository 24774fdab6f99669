"""Which voices a person may choose for a persona, and which one to begin with.

The order and the labels of the choice. Writes no rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.conf import settings
from django.utils.formats import date_format

from inference.models import Worker
from personas.models import PresetList, Voice

Choices = list[tuple[str, str | list[tuple[str, str]]]]

PRESETS, RECORDINGS = "Voices that come with the model", "Your own recordings"
OWN_CHOICE = "Another voice each time, of the model’s own choice"


def running_models() -> list[str]:
    """Their fingerprints, the emptiest worker's first. While no worker is open, of the
    worker with the latest heartbeat: it is being started again, most likely."""
    running = Worker.objects.open().values_list("fingerprint", flat=True)
    if found := list(dict.fromkeys(running)):
        return found
    known = Worker.objects.exclude(fingerprint="").order_by("-last_seen_at")
    return list(known.values_list("fingerprint", flat=True)[:1])


def presets_on_offer() -> list[Voice]:
    """One of each name, natural voices first."""
    models = running_models()
    found: dict[str, Voice] = {}
    for voice in Voice.objects.presets().filter(fingerprint__in=models):
        other = found.setdefault(voice.preset, voice)
        if models.index(voice.fingerprint) < models.index(other.fingerprint):
            found[voice.preset] = voice
    return sorted(found.values(), key=lambda v: (v.preset[:3] != "NAT", v.preset))


def default_voice() -> Voice | None:
    """What a new persona speaks with unless one is chosen."""
    return next(iter(presets_on_offer()), None)


def same_on_offer(voice: Voice | None) -> Voice | None:
    """A persona's voice as it stands in the choice now."""
    return voice and (voice.found_for(running_models()) or voice)


def problem_of(voice: Voice | None) -> str:
    """Why it can't be used now, "" if it can be, or soon can."""
    models = running_models()
    if voice is None or voice.can_be_encoded or not models or voice.found_for(models):
        return ""
    if voice.preset and not PresetList.objects.fetched(models):
        return ""
    return voice.why_not(models).text


class Offer(NamedTuple):
    choices: Choices
    has_older: bool  # recordings beyond the newest MAX_VOICE_CHOICES


def voice_choices(user: object, current: Voice | None) -> Offer:
    """Grouped, for a select; values are primary keys, "" for no voice."""
    most = settings.MAX_VOICE_CHOICES
    presets, newest = presets_on_offer(), list(Voice.objects.of(user)[: most + 1])
    own, has_older = newest[:most], len(newest) > most
    choices: Choices = []
    if current is not None and current not in [*presets, *own]:
        if Voice.objects.of(user).filter(pk=current.pk).exists():
            own.append(current)
        else:
            choices.append((str(current.pk), f"{current.name} (cannot be used now)"))
    if presets:
        choices.append((PRESETS, _options(presets)))
    if own:
        choices.append((RECORDINGS, _options(own)))
    return Offer([*choices, ("", OWN_CHOICE)], has_older)


def _options(voices: Iterable[Voice]) -> list[tuple[str, str]]:
    return [(str(voice.pk), _label(voice)) for voice in voices]


def _label(voice: Voice) -> str:
    if not voice.preset:
        made = date_format(voice.created_at)
        return f"{voice.name}, {voice.seconds:.0f} s, {made}"
    known_as = "" if voice.name == voice.preset else f" ({voice.preset})"
    return voice.name + known_as
