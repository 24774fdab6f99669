"""Which personas speak with a voice now, for pages: a few of each by name, and how many
more there are."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber

from personas.models import Persona, PersonaVersion, Voice

SHOWN = 5


@dataclass
class Speakers:
    shown: list[Persona] = field(default_factory=list)
    more: int = 0


def speakers_of(voices: Iterable[Voice]) -> defaultdict[uuid.UUID, Speakers]:
    """By primary key of the voice; one query, however many there are."""
    voice = F("voice")
    ranked = (
        PersonaVersion.objects.current()
        .filter(voice__in=[voice.pk for voice in voices])
        .annotate(
            place=Window(
                RowNumber(),
                partition_by=voice,
                order_by=["persona__name", "persona_id"],
            ),
            total=Window(Count("*"), partition_by=voice),
        )
        .filter(place__lte=SHOWN)
        .select_related("persona")
        .order_by("place")
    )
    found: defaultdict[uuid.UUID, Speakers] = defaultdict(Speakers)
    for version in ranked:
        assert version.voice_id is not None
        speakers = found[version.voice_id]
        speakers.shown.append(version.persona)
        speakers.more = version.total - len(speakers.shown)
    return found
