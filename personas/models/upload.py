"""VoiceUpload: a file on its way to becoming a voice, and who works on it.

The states of an upload and the lease of the task that works on it, which may die at any
moment. A part of personas.models, which imports it; a module of its own for its size.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta

from django.core.files.base import ContentFile, File
from django.db import models, transaction
from django.utils import timezone

from personas.channels import AUTO
from personas.errors import PersonaGone, Superseded, VoiceError
from personas.models.persona import Persona
from personas.models.voice import Voice

LEASE = timedelta(seconds=15)  # of a task on its row; extended while it works
QUEUE_PATIENCE = timedelta(seconds=20)  # before a row is enqueued once more
MAX_ATTEMPTS = 3  # a file that kills its worker so often is given up
FAILED_KEPT = timedelta(days=1)


class VoiceUploadQuerySet(models.QuerySet["VoiceUpload"]):
    def of(self, user: object) -> VoiceUploadQuerySet:
        """Uploads to personas that this user may see."""
        return self.filter(persona__owner=user, persona__deleted_at=None)

    def unfinished(self) -> VoiceUploadQuerySet:
        return self.filter(state__in=VoiceUpload.UNFINISHED)

    def recover(self) -> list[uuid.UUID]:
        """Ids of uploads that no task works on, to be enqueued once more.

        Their task was lost with its Celery worker (the lease ran out) or with the
        broker (never claimed). Each is given to one caller only.
        """
        now = timezone.now()
        idle = models.Q(lease_until=None) | models.Q(lease_until__lt=now)
        lost = self.unfinished().filter(idle, enqueued_at__lt=now - QUEUE_PATIENCE)
        return [
            key
            for key in lost.values_list("pk", flat=True)
            if lost.filter(pk=key).update(enqueued_at=now)
        ]

    def delete_old_failures(self) -> int:
        failed = self.filter(state=VoiceUpload.State.FAILED)
        return failed.filter(created_at__lt=timezone.now() - FAILED_KEPT).delete()[0]


class VoiceUpload(models.Model):
    """One file on its way to becoming the voice of a persona.

    ::

        received ──claim──> decoding ──report──> encoding ──succeed──> ready
            │                  │                    │
            └───────fail───────┴────────fail────────┴────────────────> failed

    The task that claims it has a lease, named by a random ``lease``. Every later change
    is conditional on that name, so a task that was taken for dead and comes back
    changes nothing. The persona changes in ``succeed`` only; the original file is
    deleted at either end.
    """

    class State(models.TextChoices):
        RECEIVED = "received", "Waiting for its turn"
        DECODING = "decoding", "Checking the recording"
        ENCODING = "encoding", "Learning the voice"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"

    UNFINISHED = (State.RECEIVED, State.DECODING, State.ENCODING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    persona = models.ForeignKey(Persona, models.CASCADE, related_name="voice_uploads")
    original = models.FileField(upload_to="voices/uploads", blank=True)
    size = models.PositiveBigIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.RECEIVED)
    percent = models.PositiveSmallIntegerField(default=0)
    # Of a file with several: "mixed", "left", "right", or "" for what sounds best.
    channel = models.CharField(max_length=5, blank=True)
    warning = models.CharField(max_length=600, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_text = models.CharField(max_length=400, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True)
    voice = models.ForeignKey(
        Voice, models.SET_NULL, null=True, blank=True, related_name="uploads"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    enqueued_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = VoiceUploadQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"voice of {self.persona}, {self.get_state_display().lower()}"

    @property
    def finished(self) -> bool:
        return self.state not in self.UNFINISHED

    @classmethod
    @transaction.atomic
    def receive(
        cls,
        persona: Persona,
        file: File[bytes],
        channel: str = AUTO,
        key: uuid.UUID | None = None,
    ) -> VoiceUpload:
        """Keep the file under a name of ours and enqueue its preparation. An older
        upload of the same persona that is not finished is put aside. Where there is one
        of this ``key``, and it has not failed, the same file was sent twice."""
        Persona.objects.select_for_update().get(pk=persona.pk)
        earlier = persona.voice_uploads.filter(pk=key).first() if key else None
        if earlier is not None and earlier.state != cls.State.FAILED:
            return earlier
        key = None if earlier else key
        for older in persona.voice_uploads.unfinished():
            older._finish_as(Superseded(), whatever_lease=True)
        upload = cls(
            id=key or uuid.uuid4(), persona=persona, size=file.size, channel=channel
        )
        upload.original.save(str(upload.pk), file, save=False)
        try:
            upload.save()
        except BaseException:
            upload.original.delete(save=False)
            raise
        return upload

    @classmethod
    def claim(cls, key: uuid.UUID | str) -> VoiceUpload | None:
        """Take the lease; None if it is finished, gone, or another task has it."""
        now = timezone.now()
        idle = models.Q(lease_until=None) | models.Q(lease_until__lt=now)
        claimed = cls.objects.unfinished().filter(idle, pk=key)
        taken = claimed.update(
            lease=uuid.uuid4(),
            lease_until=now + LEASE,
            state=cls.State.DECODING,
            percent=1,
            attempts=models.F("attempts") + 1,
        )
        if not taken:
            return None
        return cls.objects.select_related("persona").get(pk=key)

    def extend_lease(self) -> bool:
        """False: the lease is lost, or the upload put aside; stop working on it."""
        return bool(self._mine().update(lease_until=timezone.now() + LEASE))

    def report(self, state: str, percent: int) -> bool:
        self.state, self.percent = state, percent
        lease_until = timezone.now() + LEASE
        return bool(
            self._mine().update(state=state, percent=percent, lease_until=lease_until)
        )

    def succeed(self, sample: bytes, prompt: bytes, **about: object) -> bool:
        """The persona gets its voice. ``about``: fingerprint, seconds, warning."""
        warning = about.pop("warning", "")
        voice = Voice(owner=self.persona.owner, name=self.persona.name, **about)
        voice.digest = hashlib.sha256(prompt).hexdigest()
        done = False
        try:
            voice.sample.save(f"{voice.pk}.flac", ContentFile(sample), save=False)
            voice.prompt.save(f"{voice.pk}.pt", ContentFile(prompt), save=False)
            done = self._give(voice, str(warning))
        finally:
            if not done:
                voice.sample.delete(save=False)
                voice.prompt.delete(save=False)
        return done

    @transaction.atomic
    def _give(self, voice: Voice, warning: str) -> bool:
        persona = Persona.objects.select_for_update().get(pk=self.persona_id)
        if persona.deleted_at:
            raise PersonaGone
        voice.save()
        done = self._finish(
            state=self.State.READY, percent=100, warning=warning, voice=voice
        )
        if not done:
            voice.delete()
            return False
        persona.revise(voice=voice)
        return True

    def fail(self, error: VoiceError) -> bool:
        """The persona is as it was; the row says what to do."""
        return self._finish_as(error)

    def _finish_as(self, error: VoiceError, whatever_lease: bool = False) -> bool:
        return self._finish(
            whatever_lease,
            state=self.State.FAILED,
            error_code=error.code,
            error_text=error.text,
        )

    def _mine(self) -> VoiceUploadQuerySet:
        return VoiceUpload.objects.unfinished().filter(pk=self.pk, lease=self.lease)

    def _finish(self, whatever_lease: bool = False, **changes: object) -> bool:
        rows = VoiceUpload.objects.unfinished().filter(pk=self.pk)
        if not whatever_lease:
            rows = self._mine()
        changes.update(
            original="", lease=None, lease_until=None, finished_at=timezone.now()
        )
        original, storage = self.original.name, self.original.storage
        if not rows.update(**changes):
            return False
        for name, value in changes.items():
            setattr(self, name, value)
        if original:
            transaction.on_commit(lambda: storage.delete(original))
        return True
