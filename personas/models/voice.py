"""Voices, a part of personas.models, which imports it: uploaded ones and presets.

Which model a voice prompt fits, what replaces it when the model changes, and how a
voice is deleted without leaving a file.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from celery import current_app
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import models, transaction
from django.utils import timezone

from inference.errors import PersonaplexError
from personaplex_site.audit import may_view_all
from personas.errors import VoiceDeleted, VoiceNotInModel, VoiceNotReady

if TYPE_CHECKING:
    from personas.models import Persona

log = logging.getLogger(__name__)

ASK_AGAIN_AFTER = timedelta(seconds=90)  # a lost task is enqueued once more
LIST_AGAIN_AFTER = timedelta(seconds=60)  # so an imported voice appears by itself
LIST_RETRY_AFTER = timedelta(seconds=15)


class VoiceQuerySet(models.QuerySet["Voice"]):
    def of(self, user: object) -> VoiceQuerySet:
        """The voices made from this user's own recordings, the newest first."""
        mine = self.filter(owner=user, preset="", deleted_at=None)
        return mine.order_by("-created_at", "pk")

    def visible_to(self, user: object) -> VoiceQuerySet:
        """Their own, and those of all users for staff who may view voices. Playing a
        sample goes through ``audit.record_look``."""
        return self if may_view_all(user, self.model) else self.filter(owner=user)

    def presets(self) -> VoiceQuerySet:
        return self.exclude(preset="")

    def usable_by(self, user: object) -> VoiceQuerySet:
        """What this user's personas may speak with."""
        mine = models.Q(owner=user, deleted_at=None)
        return self.filter(mine | ~models.Q(preset=""))

    def forget_presets(self, fingerprints: Iterable[str]) -> int:
        """Delete the presets of all models but these, unless a persona names them."""
        old = self.presets().exclude(fingerprint__in=fingerprints)
        unused = [voice for voice in old if not voice.versions.exists()]
        for voice in unused:
            voice.delete()
            _delete_files(voice.prompt.name)
        return len(unused)


class Voice(models.Model):
    """A speaker: a voice prompt, and the prepared sample that it was made from.

    A voice prompt fits one model only (``fingerprint``), so the normalised sample is
    kept and encoded again when the model changes. A preset came with a model: it has
    no owner and no sample, and where another model brings one of the same name along,
    that one takes its place. A deleted voice is a row without files: conversations
    tell whose voice it was.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="voices",
        null=True,
        blank=True,
    )
    preset = models.CharField(max_length=64, blank=True)  # its name in the model: NATF2
    name = models.CharField(max_length=120)
    # FLAC, 24 kHz mono, −24 LUFS
    sample = models.FileField(upload_to="voices/samples", blank=True)
    prompt = models.FileField(upload_to="voices/prompts", blank=True)  # .pt, spec 9.4
    digest = models.CharField(max_length=64, blank=True)  # SHA-256 of the .pt
    fingerprint = models.CharField(max_length=64)  # of the model that it fits
    seconds = models.FloatField()
    created_at = models.DateTimeField(auto_now_add=True)
    asked_again_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = VoiceQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint", "preset"],
                name="one_preset_of_a_name",
                condition=~models.Q(preset=""),
            ),
            models.CheckConstraint(
                name="owned_or_a_preset",
                condition=models.Q(preset="", owner__isnull=False)
                | (~models.Q(preset="") & models.Q(owner=None)),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def can_be_encoded(self) -> bool:
        """For another model, from the sample that is kept."""
        return not self.preset and not self.deleted_at

    def is_current(self, fingerprint: str) -> bool:
        """Whether the model of this fingerprint understands the voice prompt."""
        return self.fingerprint == fingerprint

    def found_for(self, fingerprints: Sequence[str]) -> Voice | None:
        """This voice as the first of these models that has it understands it."""
        if self.deleted_at:
            return None
        if not self.preset:
            return self if self.fingerprint in fingerprints else None
        namesakes = Voice.objects.filter(
            preset=self.preset, fingerprint__in=fingerprints
        )
        found = {voice.fingerprint: voice for voice in namesakes}
        return next((found[print] for print in fingerprints if print in found), None)

    def for_models(self, fingerprints: Sequence[str]) -> Voice:
        """As ``found_for``, at least one model; else it raises ``why_not``."""
        found = self.found_for(fingerprints)
        if found is not None:
            return found
        self.ready_for(fingerprints[0])
        raise self.why_not(fingerprints)

    def why_not(self, fingerprints: Iterable[str]) -> PersonaplexError:
        """VoiceDeleted, VoiceNotInModel, or VoiceNotReady: it is being made or
        fetched, which takes some seconds."""
        detail = f"voice {self.pk} {self.preset} is of model {self.fingerprint}"
        if self.deleted_at:
            return VoiceDeleted(f"voice {self.pk} was deleted at {self.deleted_at}")
        if self.preset and PresetList.objects.fetched(fingerprints):
            return VoiceNotInModel(self.name, detail)
        return VoiceNotReady(detail)

    def ready_for(self, fingerprint: str) -> bool:
        """True: talk. False: the voice is being encoded again for this model, which
        takes some seconds; ask again then. Asking often enqueues one task only.
        A preset is never encoded: there is nothing that it could be made from."""
        if self.is_current(fingerprint) or not self.can_be_encoded:
            return self.is_current(fingerprint)
        now = timezone.now()
        stale = models.Q(asked_again_at=None) | models.Q(
            asked_again_at__lt=now - ASK_AGAIN_AFTER
        )
        asked = Voice.objects.filter(stale, pk=self.pk).update(asked_again_at=now)
        if asked:
            current_app.send_task(
                "personas.tasks.encode_voice_again", [str(self.pk), fingerprint]
            )
        return False

    @classmethod
    def take_preset(
        cls, fingerprint: str, preset: str, name: str, seconds: float, prompt: bytes
    ) -> Voice:
        """Keep, or replace, a voice that came with the model of this fingerprint."""
        kept = cls.objects.filter(fingerprint=fingerprint, preset=preset).first()
        voice = kept or cls(fingerprint=fingerprint, preset=preset, seconds=seconds)
        voice.name, voice.seconds = name, seconds
        if kept is not None:
            voice.save(update_fields=["name", "seconds"])
            voice.take_prompt(prompt, fingerprint)
            return voice
        voice.digest = hashlib.sha256(prompt).hexdigest()
        voice.prompt.save(f"{uuid.uuid4()}.pt", ContentFile(prompt), save=False)
        try:
            voice.save(force_insert=True)
        except BaseException:
            voice.prompt.delete(save=False)
            raise
        return voice

    def take_prompt(self, prompt: bytes, fingerprint: str) -> None:
        """Replace the voice prompt; the old file goes once no answer names it any more.
        Nothing is kept of a voice that was deleted meanwhile."""
        old = self.prompt.name
        self.digest = hashlib.sha256(prompt).hexdigest()
        self.fingerprint = fingerprint
        self.asked_again_at = None
        self.prompt.save(f"{uuid.uuid4()}.pt", ContentFile(prompt), save=False)
        taken = Voice.objects.filter(pk=self.pk, deleted_at=None).update(
            prompt=self.prompt.name,
            digest=self.digest,
            fingerprint=fingerprint,
            asked_again_at=None,
        )
        _delete_files(old if taken else self.prompt.name)

    def personas(self) -> list[Persona]:
        """Those that speak with it now."""
        versions = self.versions.current().select_related("persona")
        return [version.persona for version in versions.order_by("persona__name")]

    @transaction.atomic
    def erase(self, instead: Voice | None) -> None:
        """Delete the recording and what was made from it, for good. Its personas
        speak with ``instead`` from then on; the row stays, without files."""
        for persona in self.personas():
            persona.revise(voice=instead)
        locked = Voice.objects.select_for_update(no_key=True).get(pk=self.pk)
        _delete_files(locked.sample.name, locked.prompt.name)
        self.deleted_at = timezone.now()
        self.sample = self.prompt = self.digest = ""
        self.save(update_fields=["sample", "prompt", "digest", "deleted_at"])


class PresetListQuerySet(models.QuerySet["PresetList"]):
    def due(self, fingerprints: Iterable[str]) -> list[str]:
        """Those of these models that should be asked for their voices now. Each is
        given to one caller only."""
        now = timezone.now()
        for fingerprint in set(fingerprints):
            self.get_or_create(fingerprint=fingerprint)
        failed = models.Q(fetched_at=None, asked_at__lt=now - LIST_RETRY_AFTER)
        old = models.Q(asked_at__lt=now - LIST_AGAIN_AFTER)
        due = self.filter(models.Q(asked_at=None) | failed | old)
        return [
            list.fingerprint
            for list in due.filter(fingerprint__in=fingerprints)
            if due.filter(pk=list.pk).update(asked_at=now)
        ]

    def fetched(self, fingerprints: Iterable[str]) -> bool:
        """Whether the presets of all these models are here."""
        wanted = set(fingerprints)
        here = self.filter(fingerprint__in=wanted).exclude(fetched_at=None)
        return here.count() == len(wanted)


class PresetList(models.Model):
    """When a model was asked which voices it brings along."""

    fingerprint = models.CharField(max_length=64, unique=True)
    asked_at = models.DateTimeField(null=True, blank=True)
    fetched_at = models.DateTimeField(null=True, blank=True)  # last, whole

    objects = PresetListQuerySet.as_manager()

    def __str__(self) -> str:
        return f"voices of model {self.fingerprint:.12}"


def _delete_files(*names: str | None) -> None:
    """Once the transaction is over. What fails is swept up later."""

    def delete() -> None:
        for name in filter(None, names):
            try:
                default_storage.delete(name)
            except OSError:
                log.exception("%s could not be deleted", name)

    transaction.on_commit(delete)
