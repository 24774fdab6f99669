"""Waiting in the queue until a slot is free, for one conversation.

The order is in Postgres (:mod:`conversations.models.queue`). Only the worker knows
whether a slot is free: heartbeats decide no more than who asks it. The first in the
queue asks now and then in any case, since a heartbeat may get lost. People who come
while the workers are restarting wait in the queue as well.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser

from conversations.models.queue import Place, Standing, line_is_free
from conversations.threads import in_thread
from inference.errors import NoWorker, WorkerBusy
from inference.models import Worker

LOOK_SECONDS = 0.5  # how soon a free slot is seen by those in front
LOOK_BEHIND_SECONDS = 2.0  # by all others: they only want to know where they stand
IN_FRONT = 4
ASK_ANYWAY_SECONDS = 5.0
NO_WORKER_SECONDS = 60.0  # without any that answers or loads its model: given up
TELL_SECONDS = 5.0  # a place that does not move is told this often all the same

T = TypeVar("T")
Tell = Callable[[Standing, str], Awaitable[None]]  # the second: the ticket


async def in_turn(
    user: AbstractBaseUser,
    holder: uuid.UUID,
    attempt: Callable[[], Awaitable[T]],
    tell: Tell,
    *,
    ticket: str = "",
    comes_back: Callable[[], bool] = lambda: False,
) -> T:
    """What ``attempt`` opens, as soon as it is this user's turn.

    ``attempt`` raises WorkerBusy when all slots are taken, NoWorker when no worker can
    be reached, which counts if none is expected either. ``tell`` is called whenever
    the standing changes. Raises AlreadyWaiting, WorkerBusy (the line is full, or
    QUEUE_SECONDS are over) and whatever else ``attempt`` raises. Then, and when it is
    cancelled, the place is given up, unless whoever stood there ``comes_back``.
    """
    if not ticket and await in_thread(line_is_free):
        try:
            return await attempt()
        except WorkerBusy:
            pass  # somebody was faster: wait like everybody else
        except NoWorker:
            if not await in_thread(Worker.objects.expected):
                raise
    place = await in_thread(lambda: Place.join(user, holder, ticket))
    try:
        return await _wait(place, attempt, tell)
    finally:
        if not comes_back():
            await asyncio.shield(in_thread(place.leave))


async def _wait(place: Place, attempt: Callable[[], Awaitable[T]], tell: Tell) -> T:
    began = told_at = asked_at = time.monotonic()
    told: tuple[int, int] | None = None
    absent_since: float | None = None  # no worker answers, and none is loading
    while True:
        standing = await in_thread(place.stand)
        now = time.monotonic()
        if now - began > settings.QUEUE_SECONDS:
            raise WorkerBusy("waited for too long")
        overdue = standing.position == 1 and now - asked_at > ASK_ANYWAY_SECONDS
        if standing.may_try or overdue:
            asked_at = now
            try:
                return await attempt()
            except WorkerBusy:
                told = absent_since = None
            except NoWorker:
                told = None  # the worker is being started again: stay in line
                if await in_thread(Worker.objects.loading):
                    absent_since = None
                elif now - (absent_since := absent_since or now) > NO_WORKER_SECONDS:
                    raise
        where = (standing.position, standing.of)
        if where != told or now - told_at > TELL_SECONDS:
            await tell(standing, str(place.pk))
            told, told_at = where, now
        in_front = standing.position <= IN_FRONT
        await asyncio.sleep(LOOK_SECONDS if in_front else LOOK_BEHIND_SECONDS)
