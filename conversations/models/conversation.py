"""One talk, and its frame log: the list of everything that happened in it."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta

from celery import current_app
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError

from conversations.errors import (
    ConversationGone,
    EndReason,
    ResumeImpossible,
    Superseded,
    TooManyConversations,
)
from conversations.frame_log.insert import insert_chunk
from conversations.frame_log.metrics import summary_of
from conversations.models.frame_chunk import FrameChunk
from conversations.models.querysets import ConversationQuerySet
from conversations.models.resume_token import digest_of, new_token
from inference.timing import FRAME_SECONDS

log = logging.getLogger(__name__)


# The sweep's verdict is a guess, which the process with the lease takes back.
OPEN = models.Q(ended_at=None) | models.Q(end_reason=EndReason.WEB_LOST)


class Conversation(models.Model):
    """One talk with a persona, from the first frame to its end reason.

    ::

        live ──finish(reason)──> ended
        live ──park(reason)──> parked ──claim──> live
        parked ──give_up, after RESUME_SECONDS──> ended with the parked reason
        live, its process dead ──claim──> live
        live, its process dead ──give_up, after WEB_LOST_SECONDS──> ended, web_lost

    Only the process that has the ``lease`` writes: each change but the sweep's is made
    only if the row still has the lease that this object was loaded with.
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
    voice_digest = models.CharField(max_length=64, blank=True)  # of the voice prompt
    pin_prompt = models.BooleanField(default=False)  # and must be, if it is rebuilt
    sound_frames = models.PositiveIntegerField(default=0)  # that a rebuild wants
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
    end_asked = models.BooleanField(default=False, db_default=False, editable=False)
    analysis_asked_at = models.DateTimeField(null=True, blank=True)
    path_p50_ms = models.FloatField(null=True, blank=True)
    path_p95_ms = models.FloatField(null=True, blank=True)
    path_p99_ms = models.FloatField(null=True, blank=True)

    # Which process writes; and what a browser has to show to move that: the newest
    # token, or the one before until the browser has answered to the newest.
    lease = models.UUIDField(null=True, editable=False)
    resume_hash = models.CharField(max_length=64, blank=True, editable=False)
    resume_hash_before = models.CharField(max_length=64, blank=True, editable=False)
    resumes = models.PositiveIntegerField(default=0)
    # Kept for its browser, and the reason that stands if that doesn't come back.
    parked_at = models.DateTimeField(null=True, blank=True)
    parked_reason = models.CharField(max_length=20, choices=EndReason, blank=True)
    moves = models.PositiveIntegerField(default=0)  # from one worker to another
    log_segments = models.JSONField(default=list)  # LogSegments, dumped
    # [{"frame", "kind": "resumed" | "parked" | "moved" | "rewound", "ms", "detail"}]
    events = models.JSONField(default=list)

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
            ),
            models.CheckConstraint(
                name="parked_with_a_reason",
                condition=models.Q(parked_at=None, parked_reason="")
                | (models.Q(parked_at__isnull=False) & ~models.Q(parked_reason="")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.persona_version.persona.name}, {self.started_at:%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        return reverse("conversation_detail", args=[self.pk])

    @property
    def is_live(self) -> bool:
        return self.ended_at is None

    @property
    def end_text(self) -> str:
        """Why it ended, for its owner; others read ``get_end_reason_display``."""
        return EndReason(self.end_reason).text if self.end_reason else ""

    @property
    def duration_s(self) -> float:
        return self.frames * FRAME_SECONDS

    def read_figures(self) -> None:
        """The row has its counts and percentiles from the end on; until then they are
        read from the log, as far as it has been written."""
        if self.is_live:
            for name, value in summary_of(self).items():
                setattr(self, name, value)

    @classmethod
    @transaction.atomic
    def begin(cls, owner: AbstractBaseUser, **fields: object) -> Conversation:
        """A new live conversation, or TooManyConversations.

        The owner's row is locked, so that two sockets opened at the same moment
        can't both take the last place.
        """
        get_user_model().objects.select_for_update().get(pk=owner.pk)
        open_ones = cls.objects.of(owner).filter(ended_at=None).count()
        if open_ones >= settings.CONVERSATIONS_PER_USER:
            raise TooManyConversations(f"{owner} has no place left")
        return cls.objects.create(owner_id=owner.pk, alive_at=timezone.now(), **fields)

    @classmethod
    def claim(
        cls, user: AbstractBaseUser, persona: uuid.UUID, pk: uuid.UUID, token: str
    ) -> tuple[Conversation, str]:
        """Take over a conversation with its resume token; the token for next time.

        The token is used up by the statement that changes the lease, so of two
        that show it only one gets the lease. Raises ResumeImpossible.
        """
        mine = cls.objects.of(user).filter(pk=pk)
        found = mine.filter(persona_version__persona=persona).first()
        if found is None:
            raise ResumeImpossible(f"no conversation {pk} of {user}")
        too_late = cls.objects.abandoned().filter(pk=pk, parked_at__isnull=False)
        if too_late.exists():
            found.give_up()
        used, fresh, lease = digest_of(token), new_token(), uuid.uuid4()
        either = models.Q(resume_hash=used) | models.Q(resume_hash_before=used)
        # Columns of the row itself only: what is joined is not looked at again when
        # another process changed the row meanwhile.
        if not mine.filter(either, ended_at=None).update(
            lease=lease,
            resume_hash=digest_of(fresh),
            resume_hash_before=used,
            resumes=models.F("resumes") + 1,
            parked_at=None,
            parked_reason="",
            alive_at=timezone.now(),
        ):
            raise ResumeImpossible(f"{pk} has ended, or its token was used")
        found.refresh_from_db()
        if found.lease != lease:
            raise Superseded("taken over at the same moment")
        return found, fresh

    @property
    def _mine(self) -> models.QuerySet[Conversation]:
        return Conversation.objects.filter(pk=self.pk, lease=self.lease)

    def touch(self, **changes: object) -> None:
        """This process is alive, and changes these fields. Raises Superseded or
        ConversationGone.

        Takes back a verdict of the sweep: while the database was away the web process
        could not say that it was alive.
        """
        now = timezone.now()
        if self._mine.filter(OPEN).update(
            alive_at=now, ended_at=None, end_reason="", **changes
        ):
            return
        self.check_lease()
        raise ConversationGone(f"{self.pk} was deleted or ended")

    def check_lease(self) -> None:
        """Raise Superseded if another process has the lease."""
        row = Conversation.objects.filter(pk=self.pk).values_list("lease").first()
        if row is not None and row[0] != self.lease:
            raise Superseded(f"another process has the lease of {self.pk}")

    def append(self, chunk: FrameChunk, *, repeated: bool, **changes: object) -> None:
        """Add a chunk to the log. ``repeated``: it may be there already, because the
        answer to an earlier attempt got lost.

        The row is locked by ``touch`` first, so no chunk written under an earlier lease
        appears after a claim: where the log ends then is where the new one continues.
        """
        now, guess = timezone.now(), EndReason.WEB_LOST
        if not (repeated or changes) and insert_chunk(
            self.pk, self.lease, guess, now, chunk
        ):
            return
        with transaction.atomic():
            self.touch(**changes)
            if not (repeated and chunk.is_stored()):
                chunk.save(force_insert=True)

    def park(self, reason: EndReason, **changes: object) -> bool:
        """Keep it for its browser; False if it is not ours to keep any more."""
        now = timezone.now()
        return bool(
            self._mine.filter(OPEN).update(
                parked_at=now,
                parked_reason=reason,
                alive_at=now,
                ended_at=None,
                end_reason="",
                **changes,
            )
        )

    def finish(self, reason: EndReason, **counts: int) -> bool:
        """End it with its reason and figures; False if it had been ended already, or
        is another process's."""
        return self._end(
            OPEN & models.Q(lease=self.lease), reason, timezone.now(), **counts
        )

    def give_up(self) -> bool:
        """End it as abandoned, at the time of its last heartbeat."""
        still = models.Q(
            ended_at=None, alive_at=self.alive_at, parked_at=self.parked_at
        )
        reason = EndReason(self.parked_reason or EndReason.WEB_LOST)
        return self._end(still, reason, self.parked_at or self.alive_at)

    def ask_to_end(self) -> None:
        """For its user, who is on another page. The process that carries the talk is
        asked to end it (:mod:`conversations.live.remote_end`); one without a browser
        ends here, and its worker is free after RESUME_SECONDS."""
        row = Conversation.objects.filter(pk=self.pk)
        if not row.live().update(end_asked=True):
            at = self.parked_at or self.alive_at
            self._end(models.Q(ended_at=None), EndReason.ENDED_ELSEWHERE, at)

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
        changed = Conversation.objects.filter(condition, pk=self.pk).update(
            **{**summary_of(self), **counts},
            ended_at=at,
            end_reason=reason,
            parked_at=None,
            parked_reason="",
        )
        if changed:
            self.refresh_from_db()
        return bool(changed)
