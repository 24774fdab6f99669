"""Who the model speaks as: personas, their versions, and voices."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.utils import timezone

from personas.models.voice import Voice


class ChangedMeanwhile(Exception):
    """A form was loaded before the newest change of what it would save."""


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
    # How often name, role prompt or voice were changed: forms send back the number
    # that they were loaded with.
    edits = models.PositiveIntegerField(default=0, editable=False)
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
    def begin(
        cls,
        owner: User,
        name: str,
        role_prompt: str,
        voice: Voice | None = None,
        key: uuid.UUID | None = None,
    ) -> Persona:
        """IntegrityError where there is one of this ``key``."""
        persona = cls.objects.create(id=key or uuid.uuid4(), owner=owner, name=name)
        persona.versions.create(number=1, role_prompt=role_prompt, voice=voice)
        return persona

    @transaction.atomic
    def edit(self, edits: int, name: str, **changes: object) -> None:
        """Save a form that was loaded after so many edits. Raises ChangedMeanwhile,
        and saves nothing, if there were more since, or the persona was deleted."""
        loaded = Persona.objects.filter(pk=self.pk, edits=edits, deleted_at=None)
        if not loaded.update(name=name, edits=models.F("edits") + 1):
            raise ChangedMeanwhile
        self._add_version(changes)  # the update has locked the row

    @transaction.atomic
    def revise(self, **changes: object) -> PersonaVersion:
        """A new version where role prompt or voice differ; else the current one."""
        row = Persona.objects.select_for_update().filter(pk=self.pk)
        before = row.get().current
        version = self._add_version(changes)
        if version != before:
            row.update(edits=models.F("edits") + 1)
        return version

    def _add_version(self, changes: dict[str, object]) -> PersonaVersion:
        """Only while this persona's row is locked: it counts the versions."""
        current = self.current
        fields = {"role_prompt": current.role_prompt, "voice": current.voice}
        if {**fields, **changes} == fields:
            return current
        return self.versions.create(number=current.number + 1, **{**fields, **changes})

    def delete_softly(self) -> None:
        self.deleted_at = timezone.now()
        self.save(update_fields=["deleted_at"])


class PersonaVersionQuerySet(models.QuerySet["PersonaVersion"]):
    def current(self) -> PersonaVersionQuerySet:
        """The latest of each persona that is not deleted."""
        newer = PersonaVersion.objects.filter(
            persona=models.OuterRef("persona"), number__gt=models.OuterRef("number")
        )
        return self.filter(~models.Exists(newer), persona__deleted_at=None)


class PersonaVersion(models.Model):
    """Role prompt and voice of conversations: never changed once written."""

    persona = models.ForeignKey(Persona, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    role_prompt = models.TextField(blank=True)
    voice = models.ForeignKey(
        Voice, models.RESTRICT, null=True, blank=True, related_name="versions"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PersonaVersionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["persona", "number"], name="one_version_per_number"
            )
        ]

    def __str__(self) -> str:
        return f"{self.persona.name} v{self.number}"
