"""The frame log in the database, a part of conversations.models, which imports it."""

from __future__ import annotations

from django.db import models


class FrameChunk(models.Model):
    """Consecutive frames; columns as in conversations.frame_log.format.

    ``frames`` 0: only user packets, which came as a process gave up the lease and were
    not answered by then. Frames never overlap: one process writes at a time, and
    begins where the last one ended.
    """

    conversation = models.ForeignKey(
        "conversations.Conversation", models.CASCADE, related_name="chunks"
    )
    first_frame = models.PositiveIntegerField()
    frames = models.PositiveSmallIntegerField()
    tokens = models.BinaryField()
    user_packets = models.BinaryField()
    agent_packets = models.BinaryField()
    timings = models.BinaryField()
    pieces = models.JSONField(default=list)
    client_stats = models.JSONField(default=list)

    class Meta:
        ordering = ["first_frame", "frames", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "first_frame"],
                name="one_chunk_per_frame",
                condition=models.Q(frames__gt=0),
            )
        ]

    def __str__(self) -> str:
        return f"{self.conversation_id} frames {self.first_frame}+{self.frames}"

    def is_stored(self) -> bool:
        """Whether exactly this chunk has been written."""
        return FrameChunk.objects.filter(
            conversation=self.conversation_id,
            first_frame=self.first_frame,
            frames=self.frames,
            timings=self.timings,
            user_packets=self.user_packets,
        ).exists()


class Levels(models.Model):
    """How loud both sides were, for the waveform; made once, after the end."""

    conversation = models.OneToOneField(
        "conversations.Conversation",
        models.CASCADE,
        related_name="levels",
        primary_key=True,
    )
    rate = models.FloatField()  # values per second
    user = models.BinaryField()  # uint8, 0 (−60 dBFS) … 100 (full scale)
    agent = models.BinaryField()
    made_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"levels of {self.conversation_id}"
