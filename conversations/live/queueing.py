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

from conversations.models.queue import QueueEntry, QueuePosition, queue_is_free
from conversations.threads import in_thread
from inference.errors import NoWorker, WorkerBusy
from inference.models import Worker

LOOK_SECONDS = 0.5  # how soon a free slot is seen by those in front
LOOK_BEHIND_SECONDS = 2.0  # by all others, to see their position
IN_FRONT = 4
ASK_ANYWAY_SECONDS = 5.0
NO_WORKER_SECONDS = 60.0  # without any that answers or loads its model: given up
SEND_SECONDS = 5.0  # a position that does not change is sent this often

T = TypeVar("T")
SendPosition = Callable[[QueuePosition, str], Awaitable[None]]  # the second: the ticket


async def in_turn(
    user: AbstractBaseUser,
    lease: uuid.UUID,
    attempt: Callable[[], Awaitable[T]],
    send: SendPosition,
    *,
    ticket: str = "",
    comes_back: Callable[[], bool] = lambda: False,
) -> T:
    """What ``attempt`` opens, as soon as it is this user's turn.

    ``attempt`` raises WorkerBusy when all slots are taken, NoWorker when no worker can
    be reached, which counts if none is expected either. ``send`` is called whenever
    the position changes. Raises AlreadyWaiting, WorkerBusy (the queue is full, or
    QUEUE_SECONDS are over) and whatever else ``attempt`` raises. Then, and when it is
    cancelled, the entry is removed, unless its user ``comes_back``.
    """
    if not ticket and await in_thread(queue_is_free):
        try:
            return await attempt()
        except WorkerBusy:
            pass  # another user was faster: wait
        except NoWorker:
            if not await in_thread(Worker.objects.expected):
                raise
    entry = await in_thread(lambda: QueueEntry.join(user, lease, ticket))
    try:
        return await _wait(entry, attempt, send)
    finally:
        if not comes_back():
            await asyncio.shield(in_thread(entry.leave))


async def _wait(
    entry: QueueEntry, attempt: Callable[[], Awaitable[T]], send: SendPosition
) -> T:
    began = sent_at = asked_at = time.monotonic()
    sent: tuple[int, int] | None = None
    absent_since: float | None = None  # no worker answers, and none is loading
    while True:
        position = await in_thread(entry.refresh)
        now = time.monotonic()
        if now - began > settings.QUEUE_SECONDS:
            raise WorkerBusy("waited for too long")
        overdue = position.number == 1 and now - asked_at > ASK_ANYWAY_SECONDS
        if position.may_try or overdue:
            asked_at = now
            try:
                return await attempt()
            except WorkerBusy:
                sent = absent_since = None
            except NoWorker:
                sent = None  # the worker is restarting: stay in the queue
                if await in_thread(Worker.objects.loading):
                    absent_since = None
                elif now - (absent_since := absent_since or now) > NO_WORKER_SECONDS:
                    raise
        where = (position.number, position.of)
        if where != sent or now - sent_at > SEND_SECONDS:
            await send(position, str(entry.pk))
            sent, sent_at = where, now
        in_front = position.number <= IN_FRONT
        await asyncio.sleep(LOOK_SECONDS if in_front else LOOK_BEHIND_SECONDS)
