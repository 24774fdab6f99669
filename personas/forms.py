"""What people may enter about a persona. No requests here, and no row is written."""

from __future__ import annotations

import re
import uuid
from typing import Any, BinaryIO, cast

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.base import File

from personaplex_site.answers import Problem
from personas.channels import AUTO, LEFT, MIXED, RIGHT
from personas.editing import Loaded
from personas.errors import NotAudio, TooLarge
from personas.formats import container_format
from personas.models import Voice
from personas.models.voice import VoiceQuerySet
from personas.names import NameField
from personas.prompt_room import room_of
from personas.voice_choices import PRESETS, voice_choices

# In the style that PersonaPlex was trained with: "You are …", facts first, then
# what to do. Shown under the role prompt as a start.
EXAMPLES = [
    (
        "Teacher",
        "You are a wise and friendly teacher. Answer questions or provide advice in "
        "a clear and engaging way.",
    ),
    ("Conversation", "You enjoy having a good conversation."),
    (
        "Restaurant",
        "You work for Olive and Thyme, a family restaurant, and your name is Nora "
        "Bell. Information: Open Tuesday to Sunday, 5 PM to 10 PM. Tables for up to "
        "8 people. The set menu is $32, the vegetarian menu $28. There is a waiting "
        "list on Fridays. Take reservations: ask for the name, day, time and number "
        "of people.",
    ),
]


# Browsers and phones don't know all of these as sound.
SUFFIXES = ".m4a,.flac,.ogg,.opus,.aac,.aif,.aiff,.aifc,.caf,.amr,.3gp,.mov,.au,.mka"


class RolePromptField(forms.CharField):
    widget = forms.Textarea

    def to_python(self, value: Any) -> str:
        """Browsers send line ends as two characters and count them as one."""
        return str(super().to_python(value)).replace("\r\n", "\n")


class VoiceField(forms.FileField):
    """A first look, by size and first bytes; the task decodes and judges."""

    def to_python(self, data: Any) -> File[Any] | None:
        file = super().to_python(data)
        if file is None:
            return None
        if file.size > settings.VOICE_MAX_BYTES:
            error = TooLarge(file.size, settings.VOICE_MAX_BYTES)
            raise ValidationError(error.text, error.code)
        try:
            container_format(cast(BinaryIO, file))
        except NotAudio as error:
            raise ValidationError(error.text, error.code) from error
        file.seek(0)
        return file


class PageField(forms.CharField):
    """Hidden, and made with the page. After a reload browsers fill in what was there
    before; ``autocomplete`` keeps them from it."""

    def __init__(self, **kwargs: Any) -> None:
        hidden = forms.HiddenInput(attrs={"autocomplete": "off"})
        super().__init__(required=False, widget=hidden, **kwargs)


class FormIdField(PageField):
    """As ``personas.once`` explains."""

    def __init__(self) -> None:
        super().__init__(max_length=64, initial=_new_form_id)


class LoadedField(PageField):
    """What the form was filled with; None where it does not say so."""

    def clean(self, value: Any) -> Loaded | None:
        return Loaded.parse(str(value or ""))


def _new_form_id() -> str:
    return uuid.uuid4().hex


class VoiceForm(forms.Form):
    """``too_large``: the upload was cut off, so the file is missing here."""

    voice = VoiceField(
        label="Voice sample",
        error_messages={
            "required": "Choose a recording first, or make one.",
            "empty": "This file is empty. Choose a recording of 8 to 12 s.",
        },
        widget=forms.FileInput(
            attrs={"accept": f"audio/*,video/webm,video/mp4,video/quicktime,{SUFFIXES}"}
        ),
    )
    channel = forms.ChoiceField(
        required=False,
        label="Channel of a stereo file",
        choices=[
            (AUTO, "Choose for me"),
            (MIXED, "All channels mixed"),
            (LEFT, "Left"),
            (RIGHT, "Right"),
        ],
    )

    form_id = FormIdField()

    def __init__(self, *args: Any, too_large: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._too_large = too_large

    def clean(self) -> dict[str, Any]:
        if self._too_large:
            self.errors.pop("voice", None)
            error = TooLarge(None, settings.VOICE_MAX_BYTES)
            self.add_error("voice", ValidationError(error.text, error.code))
        return self.cleaned_data


class VoiceChoiceField(forms.ChoiceField):
    """A voice that the persona's owner may use; None for the model's own choice.

    The value that the page showed comes back with the form, so that saving a page
    that was opened a while ago doesn't undo a voice that has come since.
    """

    usable: VoiceQuerySet

    def __init__(self) -> None:
        super().__init__(required=False, label="Voice", show_hidden_initial=True)

    def valid_value(self, value: Any) -> bool:
        return True  # what was on the page may have changed: looked up in clean

    def clean(self, value: Any) -> Voice | None:
        key = super().clean(value)
        if not key:
            return None
        try:
            return self.usable.get(pk=key)
        except (Voice.DoesNotExist, ValidationError) as error:
            text = "This voice is not there any more. Choose another one."
            raise ValidationError(text) from error


class DraftField(PageField):
    """Which of its drafts a browser sends, "" for anything that is no such name."""

    def clean(self, value: Any) -> str:
        return value if re.fullmatch("[0-9a-f]{32}", str(value or "")) else ""


class PersonaForm(forms.Form):
    """``voice_choice`` counts only where it is among ``changed_data``."""

    name = NameField(
        max_length=80,
        error_messages={"required": "Give the persona a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    role_prompt = RolePromptField(
        required=False,
        label="Role prompt",
        widget=forms.Textarea(attrs={"rows": 7, "spellcheck": "true"}),
    )

    voice_choice = VoiceChoiceField()
    draft = DraftField()

    def __init__(
        self, *args: Any, user: object, voice: Voice | None, **kwargs: Any
    ) -> None:
        """``voice``: the one to begin with, as it is on offer now."""
        super().__init__(*args, **kwargs)
        choice = cast(VoiceChoiceField, self.fields["voice_choice"])
        offer = voice_choices(user, voice)
        choice.choices = offer.choices
        self.has_presets = any(name == PRESETS for name, _ in offer.choices)
        self.has_older_recordings = offer.has_older
        choice.usable = Voice.objects.usable_by(user)
        choice.initial = str(voice.pk) if voice else ""
        most = settings.ROLE_PROMPT_MAX_CHARACTERS
        field = self.fields["role_prompt"]
        field.validators.append(_at_most(most))
        field.widget.attrs["data-most"] = most
        self._voice = voice

    def clean(self) -> dict[str, Any]:
        super().clean()
        if {"role_prompt", "voice_choice"} <= self.cleaned_data.keys():
            room = room_of(self.cleaned_data["role_prompt"], self._voice_seconds())
            if room and room.problem:
                self.add_error("role_prompt", room.problem)
        return self.cleaned_data

    def _voice_seconds(self) -> float:
        voice = self._voice
        if "voice_choice" in self.changed_data:
            voice = self.cleaned_data["voice_choice"]
        return voice.seconds if voice else 0.0


class EditPersonaForm(PersonaForm):
    loaded = LoadedField()


class NewPersonaForm(PersonaForm, VoiceForm):
    """With a recording for its voice from the start, if wanted."""

    field_order = ["name", "role_prompt", "voice_choice", "voice", "channel"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["voice"].required = False

    def _voice_seconds(self) -> float:
        """Of a recording no more than this is used."""
        if self.cleaned_data.get("voice"):
            return float(settings.VOICE_USED_SECONDS)
        return super()._voice_seconds()


def _at_most(most: int) -> Any:
    def check(value: str) -> None:
        if len(value) > most:
            raise ValidationError(
                f"This role prompt has {len(value):,} characters; "
                f"it may have at most {most:,}. Short prompts are followed best."
            )

    return check


def form_problem(form: forms.Form) -> Problem:
    """All that is wrong with it, under the code of the first error."""
    errors = [error for field in form.errors.as_data().values() for error in field]
    text = " ".join(str(text) for texts in form.errors.values() for text in texts)
    return Problem(errors[0].code or "invalid", text)
