"""One talk, and its frame log: the list of everything that happened in it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


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
    path_p50_ms = models.FloatField(null=True, blank=True)
    path_p95_ms = models.FloatField(null=True, blank=True)
    path_p99_ms = models.FloatField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at"]
        constraints = [
            models.CheckConstraint(
                name="ended_with_a_reason",
                condition=models.Q(ended_at=None, end_reason="")
                | (models.Q(ended_at__isnull=False) & ~models.Q(end_reason="")),
            )
        ]

    def __str__(self) -> str:
        return f"{self.persona_version.persona.name}, {self.started_at:%Y-%m-%d %H:%M}"


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

    class Meta:
        ordering = ["first_frame"]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "first_frame"], name="one_chunk_per_frame"
            )
        ]

    def __str__(self) -> str:
        return f"{self.conversation_id} frames {self.first_frame}+{self.frames}"
