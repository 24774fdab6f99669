"""Threads in which live conversations ask the database.

Channels has one such thread for the whole process: there a slow query of one
conversation would hold up all others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from channels.db import database_sync_to_async
from django.db.utils import Error as DatabaseProblem

log = logging.getLogger(__name__)

THREADS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="frame-log")
T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Database work of a live conversation, off the loop and off Channels' thread."""
    run = database_sync_to_async(work, thread_sensitive=False, executor=THREADS)
    return await run()


async def in_thread_until(work: Callable[[], T], deadline: float, every: float) -> T:
    """The same, and again ``every`` so many seconds while the database is away. Its
    error where the next attempt would come after ``deadline`` (of time.monotonic)."""
    while True:
        try:
            return await in_thread(work)
        except DatabaseProblem as error:
            if time.monotonic() + every > deadline:
                raise
            log.warning("asking again in %.1f s: %s", every, error)
        await asyncio.sleep(every)
