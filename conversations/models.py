"""One talk, and its frame log: the list of everything that happened in it."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta

from celery import current_app
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError

from conversations.figures import summarise
from inference.errors import PersonaplexError
from inference.timing import FRAME_SECONDS

log = logging.getLogger(__name__)

# A live conversation is touched at least every 3 s.
ABANDONED = timedelta(seconds=10)


class EndReason(models.TextChoices):
    """Why a conversation ended: a closed list, each with a test that makes it."""

    USER_ENDED = "user_ended", "You ended the conversation"
    USER_LEFT = "user_left", "The page was closed"
    NETWORK_LOST = "network_lost", "The connection to the browser was lost"
    INACTIVITY = "inactivity", "No sound came from the browser for a while"
    MAX_DURATION = "max_duration", "The longest duration was reached"
    WORKER_LOST = "worker_lost", "The voice engine went away"
    MODEL_ERROR = "model_error", "The voice engine failed"
    WEB_LOST = "web_lost", "The web server stopped unexpectedly"
    SHUTDOWN = "shutdown", "The service was shut down"
    PROTOCOL = "protocol", "The browser sent something invalid"
    SITE_ERROR = "site_error", "The site failed"


class TooManyConversations(PersonaplexError):
    code = "too_many"
    text = "You already have as many conversations open as you may. End one of them."
    retryable = True


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def of(self, user: AbstractBaseUser | AnonymousUser) -> ConversationQuerySet:
        return self.filter(owner=user.pk)

    def visible_to(
        self, user: AbstractBaseUser | AnonymousUser
    ) -> ConversationQuerySet:
        """Their own; staff may look at everybody's."""
        return self if getattr(user, "is_staff", False) else self.of(user)

    def live(self) -> ConversationQuerySet:
        """Not ended, and its web process has been heard of lately."""
        return self.filter(ended_at=None, alive_at__gte=timezone.now() - ABANDONED)

    def end_abandoned(self) -> int:
        """End what a dead web process left behind; how many there were."""
        stale = self.filter(ended_at=None, alive_at__lt=timezone.now() - ABANDONED)
        return sum(conversation.give_up() for conversation in stale)


class Conversation(models.Model):
    """One talk with a persona, from the first frame to its end reason.

    live ──finish(reason)──> ended
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="conversations"
    )
    persona_version = models.ForeignKey(
        "personas.PersonaVersion", models.RESTRICT, related_name="conversations"
    )
    worker_name = models.CharField(max_length=120)
    model = models.CharField(max_length=120)
    fingerprint = models.CharField(max_length=64)
    sampling = models.JSONField(default=dict)
    prompt_frames = models.PositiveIntegerField(default=0)
    prime_ms = models.FloatField(default=0)
    started_at = models.DateTimeField(auto_now_add=True)
    # Moved by every chunk and by the consumer's heartbeat: how the sweep finds
    # conversations whose web process died.
    alive_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=20, choices=EndReason, blank=True)
    frames = models.PositiveIntegerField(default=0)
    dropped_frames = models.PositiveIntegerField(default=0)
    late_frames = models.PositiveIntegerField(default=0)
    # Microphone frames that never came, and frames the log lacks because the database
    # was away for longer than the recorder's memory.
    missing_frames = models.PositiveIntegerField(default=0)
    unwritten_frames = models.PositiveIntegerField(default=0)
    analysis_asked_at = models.DateTimeField(null=True, blank=True)
    path_p50_ms = models.FloatField(null=True, blank=True)
    path_p95_ms = models.FloatField(null=True, blank=True)
    path_p99_ms = models.FloatField(null=True, blank=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at"]
        indexes = [
            models.Index(
                fields=["alive_at"],
                name="live_conversations",
                condition=models.Q(ended_at=None),
            )
        ]
        constraints = [
            models.CheckConstraint(
                name="ended_with_a_reason",
                condition=models.Q(ended_at=None, end_reason="")
                | (models.Q(ended_at__isnull=False) & ~models.Q(end_reason="")),
            )
        ]

    def __str__(self) -> str:
        return f"{self.persona_version.persona.name}, {self.started_at:%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        return reverse("conversation_detail", args=[self.pk])

    @property
    def is_live(self) -> bool:
        return self.ended_at is None

    @property
    def duration_s(self) -> float:
        return self.frames * FRAME_SECONDS

    @classmethod
    @transaction.atomic
    def begin(cls, owner: AbstractBaseUser, **fields: object) -> Conversation:
        """A new live conversation, or TooManyConversations.

        The owner's row is locked, so that two sockets opened at the same moment
        can't both take the last place.
        """
        get_user_model().objects.select_for_update().get(pk=owner.pk)
        if cls.objects.of(owner).live().count() >= settings.CONVERSATIONS_PER_USER:
            raise TooManyConversations(f"{owner} has no place left")
        return cls.objects.create(owner=owner, alive_at=timezone.now(), **fields)

    def touch(self) -> bool:
        """Its web process is alive. False: it was ended or deleted by someone else.

        Takes back a verdict of the sweep: while the database was away the web process
        could not say that it was alive.
        """
        mine = Conversation.objects.filter(pk=self.pk)
        if mine.filter(ended_at=None).update(alive_at=timezone.now()):
            return True
        return bool(
            mine.filter(end_reason=EndReason.WEB_LOST).update(
                alive_at=timezone.now(), ended_at=None, end_reason=""
            )
        )

    def finish(self, reason: EndReason, **counts: int) -> bool:
        """End it with its reason and figures; False if it had been ended already.

        The sweep's web_lost is a guess, which whoever held the conversation corrects.
        """
        open_or_guessed = models.Q(ended_at=None) | models.Q(
            end_reason=EndReason.WEB_LOST
        )
        return self._end(open_or_guessed, reason, timezone.now(), **counts)

    def give_up(self) -> bool:
        """End it as abandoned, at the moment when it was last heard of."""
        still = models.Q(ended_at=None, alive_at=self.alive_at)
        return self._end(still, EndReason.WEB_LOST, self.alive_at)

    def ask_for_analysis(self) -> None:
        """Have the levels made, once a minute at most. Quiet without a broker: the
        review page asks again."""
        before = timezone.now() - timedelta(minutes=1)
        due = models.Q(analysis_asked_at=None) | models.Q(analysis_asked_at__lt=before)
        ended = Conversation.objects.filter(due, pk=self.pk, ended_at__isnull=False)
        if not ended.update(analysis_asked_at=timezone.now()):
            return
        try:
            current_app.send_task(
                "conversations.tasks.analyse_conversation", [str(self.pk)]
            )
        except OperationalError as error:
            log.warning("no analysis of %s yet: %s", self.pk, error)

    def _end(
        self, condition: models.Q, reason: EndReason, at: datetime, **counts: int
    ) -> bool:
        figures = summarise(self.chunks.all())
        changed = Conversation.objects.filter(condition, pk=self.pk).update(
            **{**figures, **counts}, ended_at=at, end_reason=reason
        )
        if changed:
            self.refresh_from_db()
        return bool(changed)


class FrameChunk(models.Model):
    """Up to CHUNK_FRAMES consecutive frames; columns as in conversations.frames."""

    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="chunks"
    )
    first_frame = models.PositiveIntegerField()
    frames = models.PositiveSmallIntegerField()
    tokens = models.BinaryField()
    user_packets = models.BinaryField()
    agent_packets = models.BinaryField()
    timings = models.BinaryField()
    pieces = models.JSONField(default=list)

    class Meta:
        ordering = ["first_frame"]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "first_frame"], name="one_chunk_per_frame"
            )
        ]

    def __str__(self) -> str:
        return f"{self.conversation_id} frames {self.first_frame}+{self.frames}"


class Levels(models.Model):
    """How loud both sides were, for the waveform; made once, after the end."""

    conversation = models.OneToOneField(
        Conversation, models.CASCADE, related_name="levels", primary_key=True
    )
    rate = models.FloatField()  # values per second
    user = models.BinaryField()  # uint8, 0 (−60 dBFS) … 100 (full scale)
    agent = models.BinaryField()
    made_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"levels of {self.conversation_id}"
