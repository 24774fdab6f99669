"""The queue for a free slot, in Postgres, so that it outlives web processes.

First come, first served, one entry per user. An entry that is not refreshed for
ENTRY_SILENT no longer delays those behind it. Until ENTRY_KEPT its user can come back,
with the ticket or by signing in, to the same position.
"""

from __future__ import annotations

import heapq
import math
import uuid
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import models, transaction
from django.utils import timezone

from inference.errors import PersonaplexError, WorkerBusy
from inference.models import Worker

ENTRY_SILENT = timedelta(seconds=10)
ENTRY_KEPT = timedelta(seconds=60)
RECENT = 20  # ended conversations that the guess is made from
ASSUMED_SECONDS = 120.0  # of a conversation, until some have ended


class AlreadyWaiting(PersonaplexError):
    code = "already_waiting"
    text = "You are already waiting in another window. Continue there, or close it."
    retryable = True
    retry_after_s = ENTRY_SILENT.total_seconds()


@dataclass(frozen=True)
class QueuePosition:
    """Where an entry is in the queue right now."""

    number: int  # 1: the next
    of: int  # how many wait in all
    eta_s: float | None  # None: no guess is possible
    free: int  # slots that the workers said were free

    @property
    def may_try(self) -> bool:
        return self.number <= self.free


class QueueEntryQuerySet(models.QuerySet["QueueEntry"]):
    def waiting(self) -> QueueEntryQuerySet:
        """Those that others have to wait for, the first first."""
        since = timezone.now() - ENTRY_SILENT
        return self.filter(seen_at__gte=since).order_by("joined_at", "id")

    def expire(self) -> int:
        """Delete abandoned entries; how many there were."""
        return self.filter(seen_at__lt=timezone.now() - ENTRY_KEPT).delete()[0]


class QueueEntry(models.Model):
    """One user in the queue. Its id is the ticket."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="queue_entry"
    )
    # Of the conversation that has not begun and refreshes it; another window's if that
    # has taken it over.
    lease = models.UUIDField()
    joined_at = models.DateTimeField(default=timezone.now, db_index=True)
    seen_at = models.DateTimeField(default=timezone.now)

    objects = QueueEntryQuerySet.as_manager()

    class Meta:
        ordering = ["joined_at", "id"]

    def __str__(self) -> str:
        return f"{self.owner} since {self.joined_at:%H:%M:%S}"

    @classmethod
    @transaction.atomic
    def join(cls, owner: AbstractBaseUser, lease: uuid.UUID, ticket: str) -> QueueEntry:
        """An entry at the end of the queue, or the one that the owner had.

        Raises AlreadyWaiting while another window refreshes it, WorkerBusy when
        QUEUE_PLACES people wait.
        """
        cls.objects.expire()
        now = timezone.now()
        mine = cls.objects.select_for_update().filter(owner=owner.pk).first()
        if mine is None:
            if cls.objects.waiting().count() >= settings.QUEUE_PLACES:
                raise _queue_full()
            entry, made = cls.objects.get_or_create(
                owner_id=owner.pk, defaults={"lease": lease}
            )
            if not made and entry.lease != lease:  # two windows, one moment
                raise AlreadyWaiting(f"{owner} waits already")
            return entry
        if ticket != str(mine.pk) and now - mine.seen_at < ENTRY_SILENT:
            raise AlreadyWaiting(f"{owner} waits already")
        mine.lease, mine.seen_at = lease, now
        mine.save(update_fields=["lease", "seen_at"])
        return mine

    def refresh(self) -> QueuePosition:
        """Say that the user still waits, and see how far the queue has moved.

        Raises AlreadyWaiting when another window took it over.
        """
        mine = QueueEntry.objects.filter(pk=self.pk, lease=self.lease)
        if not mine.update(seen_at=timezone.now()):
            raise AlreadyWaiting("the entry was taken over or given up")
        queue = list(QueueEntry.objects.waiting().values_list("pk", flat=True))
        ahead = queue.index(self.pk) if self.pk in queue else len(queue)
        return QueuePosition(
            number=ahead + 1,
            of=max(len(queue), ahead + 1),
            eta_s=seconds_until_free(ahead),
            free=free_slots(),
        )

    def leave(self) -> None:
        QueueEntry.objects.filter(pk=self.pk, lease=self.lease).delete()


def queue_is_free() -> bool:
    """Whether a newcomer may try at once: no queue, or there is room for all."""
    waiting = QueueEntry.objects.waiting().count()
    return waiting == 0 or waiting < free_slots()


def free_slots() -> int:
    return sum(
        max(worker.slots - worker.sessions, 0) for worker in Worker.objects.open()
    )


def seconds_until_free(ahead: int) -> float | None:
    """A guess: until ``ahead`` + 1 of the running conversations have ended, if they and
    those that follow take as long as the recent ones did. None where nothing is known:
    the next to end has lasted longer than any recent one."""
    from conversations.models import Conversation

    recent = Conversation.objects.exclude(ended_at=None).order_by("-ended_at")[:RECENT]
    lengths = [
        (end - start).total_seconds()
        for start, end in recent.values_list("started_at", "ended_at")
        if end
    ] or [ASSUMED_SECONDS]
    now = timezone.now()
    frees = [
        _seconds_left((now - start).total_seconds(), lengths)
        for start in Conversation.objects.live().values_list("started_at", flat=True)
    ]
    if not frees:
        return None
    heapq.heapify(frees)
    for _ in range(ahead):  # each slot is taken again as soon as it is free
        heapq.heapreplace(frees, frees[0] + median(lengths))
    return round(frees[0], 1) if math.isfinite(frees[0]) else None


def _seconds_left(age: float, lengths: list[float]) -> float:
    """Of a conversation, judged by the recent ones that were longer than it is now."""
    longer = [length for length in lengths if length > age]
    return median(longer) - age if longer else math.inf


def _queue_full() -> WorkerBusy:
    error = WorkerBusy(
        f"{settings.QUEUE_PLACES} people wait",
        text="So many people are waiting that the queue is closed for now. "
        "Please try again in a few minutes.",
    )
    error.retry_after_s = 60.0
    return error
