"""Who the model speaks as: personas, their versions, and voices."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.utils import timezone

ASK_AGAIN_AFTER = timedelta(seconds=90)  # a lost task is enqueued once more


class PersonaQuerySet(models.QuerySet["Persona"]):
    def of(self, user: object) -> PersonaQuerySet:
        """The personas that this user may see: their own, not deleted."""
        return self.filter(owner=user, deleted_at=None)


class Persona(models.Model):
    """A name, and through its latest version a role prompt and a voice."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="personas"
    )
    name = models.CharField(max_length=80)
    created_at = models.DateTimeField(auto_now_add=True)
    # Conversations outlive their persona, so a deleted one is only hidden.
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = PersonaQuerySet.as_manager()

    class Meta:
        ordering = ["name", "created_at"]

    def __str__(self) -> str:
        return self.name

    @property
    def current(self) -> PersonaVersion:
        return self.versions.order_by("-number").select_related("voice")[0]

    @classmethod
    @transaction.atomic
    def begin(cls, owner: User, name: str, role_prompt: str) -> Persona:
        persona = cls.objects.create(owner=owner, name=name)
        persona.versions.create(number=1, role_prompt=role_prompt)
        return persona

    def rename(self, name: str) -> None:
        self.name = name
        self.save(update_fields=["name"])

    @transaction.atomic
    def revise(self, **changes: object) -> PersonaVersion:
        """A new version where role prompt or voice differ; else the current one."""
        Persona.objects.select_for_update().get(pk=self.pk)
        current = self.current
        fields = {"role_prompt": current.role_prompt, "voice": current.voice}
        if {**fields, **changes} == fields:
            return current
        return self.versions.create(number=current.number + 1, **{**fields, **changes})

    def delete_softly(self) -> None:
        self.deleted_at = timezone.now()
        self.save(update_fields=["deleted_at"])


class Voice(models.Model):
    """A speaker: the prepared sample, and the voice prompt made from it.

    A voice prompt fits one model only (``fingerprint``), so the normalised sample is
    kept and encoded again when the model changes.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="voices"
    )
    name = models.CharField(max_length=120)
    sample = models.FileField(upload_to="voices/samples")  # FLAC, 24 kHz mono, −24 LUFS
    prompt = models.FileField(upload_to="voices/prompts")  # .pt, spec 9.4
    digest = models.CharField(max_length=64)  # SHA-256 of the .pt
    fingerprint = models.CharField(max_length=64)  # of the model that encoded it
    seconds = models.FloatField()
    created_at = models.DateTimeField(auto_now_add=True)
    asked_again_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def is_current(self, fingerprint: str) -> bool:
        """Whether the model of this fingerprint understands the voice prompt."""
        return self.fingerprint == fingerprint

    def ready_for(self, fingerprint: str) -> bool:
        """True: talk. False: the voice is being encoded again for this model, which
        takes some seconds; ask again then. Asking often enqueues one task only."""
        if self.is_current(fingerprint):
            return True
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

    def take_prompt(self, prompt: bytes, fingerprint: str) -> None:
        """Replace the voice prompt; the old file goes once nobody can be told of it."""
        old = self.prompt.name
        self.digest = hashlib.sha256(prompt).hexdigest()
        self.fingerprint = fingerprint
        self.asked_again_at = None
        self.prompt.save(f"{uuid.uuid4()}.pt", ContentFile(prompt), save=False)
        self.save(update_fields=["prompt", "digest", "fingerprint", "asked_again_at"])
        if old:
            storage = self.prompt.storage
            transaction.on_commit(lambda: storage.delete(old))


class PersonaVersion(models.Model):
    """What a conversation was held with: never changed once written."""

    persona = models.ForeignKey(Persona, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    role_prompt = models.TextField(blank=True)
    voice = models.ForeignKey(
        Voice, models.RESTRICT, null=True, blank=True, related_name="versions"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["persona", "number"], name="one_version_per_number"
            )
        ]

    def __str__(self) -> str:
        return f"{self.persona.name} v{self.number}"


# VoiceUpload is one of our models: Django has to meet it with the others.
import personas.uploads  # noqa: E402, F401
