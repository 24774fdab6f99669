"""Saving the form of a persona that others may have changed since it was loaded.

Two windows with the same persona: the second save must not put back what the first has
replaced. The form says what it was filled with. If its texts and the saved ones have
gone apart nothing is saved, and the person chooses with both in view.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.http import QueryDict

from personas.models import ChangedMeanwhile, Persona, PersonaVersion, Voice
from personas.voice_choices import OWN_CHOICE

ATTEMPTS = 5  # each fails only where another window saved within some milliseconds
MAX_NUMBER = 2**31 - 1  # of the database's column
KEEP, SAVED = "keep-", "saved"  # of the choices in the form


class Loaded(NamedTuple):
    """What a form was filled with; it travels through the browser as JSON."""

    edits: int
    version: int
    name: str

    @classmethod
    def of(cls, persona: Persona, current: PersonaVersion) -> Loaded:
        return cls(persona.edits, current.number, persona.name)

    @classmethod
    def parse(cls, text: str) -> Loaded | None:
        """None for anything that is not what ``as_json`` gives."""
        try:
            edits, version, name = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            return None
        numbers = type(edits) is type(version) is int
        if not numbers or not isinstance(name, str):
            return None
        in_range = 0 <= edits <= MAX_NUMBER and 0 <= version <= MAX_NUMBER
        return cls(edits, version, name) if in_range else None

    def as_json(self) -> str:
        return json.dumps(self)


@dataclass(frozen=True)
class Conflict:
    """A field whose value is saved otherwise by now. ``mine``: it was changed in this
    form as well; else only its old value stands in the form."""

    saved: str  # as people read it
    mine: bool


def save(persona: Persona, cleaned: dict[str, Any], chose_voice: bool) -> None:
    """Save a valid form. Raises ``EditConflict`` with nothing saved."""
    for _ in range(ATTEMPTS):
        # In this order: a version that comes between the two fails the update.
        persona.refresh_from_db(fields=["name", "edits", "deleted_at"])
        current = persona.current
        conflicts = _conflicts(persona, current, cleaned, chose_voice)
        if conflicts or persona.deleted_at:
            break
        changes = {"role_prompt": cleaned["role_prompt"]}
        if chose_voice:
            changes["voice"] = cleaned["voice_choice"]
        try:
            persona.edit(persona.edits, cleaned["name"], **changes)
            return
        except ChangedMeanwhile:
            continue
    raise EditConflict(conflicts)


class EditConflict(Exception):
    """``conflicts``: by the form's field; none where saving never got its turn."""

    def __init__(self, conflicts: dict[str, Conflict]) -> None:
        super().__init__(f"changed since the form was loaded: {', '.join(conflicts)}")
        self.conflicts = conflicts


def _conflicts(
    persona: Persona,
    current: PersonaVersion,
    cleaned: dict[str, Any],
    chose_voice: bool,
) -> dict[str, Conflict]:
    """Fields that were saved by others since, as something else than this form has.
    A form that does not say what it was filled with is taken for an old one."""
    loaded: Loaded | None = cleaned["loaded"]
    if loaded is not None and loaded.edits == persona.edits:
        return {}
    version = persona.versions.filter(number=loaded.version) if loaded else None
    before = version.first() if version is not None else None
    found = {}
    name, prompt = cleaned["name"], cleaned["role_prompt"]
    if name != persona.name and (loaded is None or loaded.name != persona.name):
        mine = loaded is None or loaded.name != name
        found["name"] = Conflict(persona.name, mine)
    old = before.role_prompt if before else None
    if prompt != current.role_prompt != old:
        found["role_prompt"] = Conflict(current.role_prompt, mine=prompt != old)
    # A voice that was not chosen here stays as it is saved: it may be the recording
    # that was sent from this very page.
    choice: Voice | None = cleaned["voice_choice"]
    moved = before is None or before.voice_id != current.voice_id
    if chose_voice and moved and choice != current.voice:
        label = current.voice.name if current.voice else OWN_CHOICE
        found["voice_choice"] = Conflict(label, mine=True)
    return found


def with_choices(
    data: QueryDict, persona: Persona, current: PersonaVersion
) -> QueryDict:
    """What was sent, with the saved value where the person chose that."""
    sent = data.copy()
    saved = {"name": persona.name, "role_prompt": current.role_prompt}
    saved["voice_choice"] = data.get("initial-voice_choice", "")  # as if not chosen
    for field, value in saved.items():
        if data.get(KEEP + field) == SAVED:
            sent[field] = value
    return sent


def loaded_again(
    data: QueryDict, persona: Persona, current: PersonaVersion, voice: Voice | None
) -> QueryDict:
    """What was sent, as if its page had been loaded now: for showing it beside what is
    saved. A voice that was not chosen in it is the saved one."""
    sent = data.copy()
    sent["loaded"] = Loaded.of(persona, current).as_json()
    saved, shown = str(voice.pk) if voice else "", data.get("initial-voice_choice", "")
    if data.get("voice_choice", "") == shown:
        sent["voice_choice"] = saved
    sent["initial-voice_choice"] = saved
    return sent
