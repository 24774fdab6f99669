"""Who waits for a free place, in Postgres: it outlives web processes.

Owns the order of the line and the guess how long it takes. Knows no sockets.

First come, first served, one place a user. A place is kept while somebody touches it;
after PLACE_SILENT it does not hold up the line any more, and until PLACE_KEPT whoever
comes back (with the ticket, or as the same user) stands where they stood.
"""

from __future__ import annotations

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

PLACE_SILENT = timedelta(seconds=10)
PLACE_KEPT = timedelta(seconds=60)
RECENT = 20  # ended conversations that the guess is made from
ASSUMED_SECONDS = 120.0  # of a conversation, until some have ended
MIN_SECONDS = 5.0  # nobody is promised less


class AlreadyWaiting(PersonaplexError):
    code = "already_waiting"
    text = "You are already waiting in another window. Go on there, or close it first."
    retryable = True
    retry_after_s = PLACE_SILENT.total_seconds()


@dataclass(frozen=True)
class Standing:
    """Where somebody stands in the line right now."""

    position: int  # 1: the next
    of: int  # how many wait in all
    eta_s: float
    free: int  # slots that the workers said were free

    @property
    def may_try(self) -> bool:
        return self.position <= self.free


class PlaceQuerySet(models.QuerySet["Place"]):
    def waiting(self) -> PlaceQuerySet:
        """Those that hold up the line, the first first."""
        since = timezone.now() - PLACE_SILENT
        return self.filter(seen_at__gte=since).order_by("joined_at", "id")

    def expire(self) -> int:
        """Delete what nobody came back for; how many there were."""
        return self.filter(seen_at__lt=timezone.now() - PLACE_KEPT).delete()[0]


class Place(models.Model):
    """One user's place in the line. Its id is the ticket."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="place"
    )
    # Who touches it: a conversation that has not begun. Changes when it is taken over.
    holder = models.UUIDField()
    joined_at = models.DateTimeField(default=timezone.now, db_index=True)
    seen_at = models.DateTimeField(default=timezone.now)

    objects = PlaceQuerySet.as_manager()

    class Meta:
        ordering = ["joined_at", "id"]

    def __str__(self) -> str:
        return f"{self.owner} since {self.joined_at:%H:%M:%S}"

    @classmethod
    @transaction.atomic
    def join(cls, owner: AbstractBaseUser, holder: uuid.UUID, ticket: str) -> Place:
        """A place at the end of the line, or the one that the owner had.

        Raises AlreadyWaiting while another window holds it, WorkerBusy when
        QUEUE_PLACES people wait.
        """
        cls.objects.expire()
        now = timezone.now()
        mine = cls.objects.select_for_update().filter(owner=owner.pk).first()
        if mine is None:
            if cls.objects.waiting().count() >= settings.QUEUE_PLACES:
                raise _line_full()
            place, made = cls.objects.get_or_create(
                owner_id=owner.pk, defaults={"holder": holder}
            )
            if not made and place.holder != holder:  # two windows, one moment
                raise AlreadyWaiting(f"{owner} waits already")
            return place
        if ticket != str(mine.pk) and now - mine.seen_at < PLACE_SILENT:
            raise AlreadyWaiting(f"{owner} waits already")
        mine.holder, mine.seen_at = holder, now
        mine.save(update_fields=["holder", "seen_at"])
        return mine

    def stand(self) -> Standing:
        """Still here: touch the place and see how far the line has moved.

        Raises AlreadyWaiting when another window took it over.
        """
        mine = Place.objects.filter(pk=self.pk, holder=self.holder)
        if not mine.update(seen_at=timezone.now()):
            raise AlreadyWaiting("the place was taken over or given up")
        line = list(Place.objects.waiting().values_list("pk", flat=True))
        ahead = line.index(self.pk) if self.pk in line else len(line)
        return Standing(
            position=ahead + 1,
            of=max(len(line), ahead + 1),
            eta_s=seconds_until_free(ahead),
            free=free_slots(),
        )

    def leave(self) -> None:
        Place.objects.filter(pk=self.pk, holder=self.holder).delete()


def line_is_free() -> bool:
    """Whether a newcomer may try at once: nobody waits, or there is room for all."""
    waiting = Place.objects.waiting().count()
    return waiting == 0 or waiting < free_slots()


def free_slots() -> int:
    return sum(
        max(worker.slots - worker.sessions, 0) for worker in Worker.objects.open()
    )


def seconds_until_free(ahead: int) -> float:
    """A guess: until ``ahead`` + 1 of the running conversations have ended, if they
    last as long as the recent ones did."""
    from conversations.models import Conversation

    recent = Conversation.objects.exclude(ended_at=None).order_by("-ended_at")[:RECENT]
    lengths = [
        (end - start).total_seconds()
        for start, end in recent.values_list("started_at", "ended_at")
        if end
    ]
    typical = max(median(lengths) if lengths else ASSUMED_SECONDS, MIN_SECONDS)
    now = timezone.now()
    left = sorted(
        max(typical - (now - start).total_seconds(), MIN_SECONDS)
        for start in Conversation.objects.live().values_list("started_at", flat=True)
    )
    if not left:
        return MIN_SECONDS
    rounds, index = divmod(ahead, len(left))
    guess = left[index] + rounds * typical
    return round(min(guess, float(settings.QUEUE_SECONDS)), 1)


def _line_full() -> WorkerBusy:
    error = WorkerBusy(
        f"{settings.QUEUE_PLACES} people wait",
        text="So many people are waiting that the line is closed for now. "
        "Please try again in a few minutes.",
    )
    error.retry_after_s = 60.0
    return error
