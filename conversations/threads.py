"""Threads in which live conversations ask the database.

Channels has one such thread for the whole process: there a slow query of one
conversation would hold up all others.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from channels.db import database_sync_to_async

THREADS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="frame-log")
T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Database work of a live conversation, off the loop and off Channels' thread."""
    run = database_sync_to_async(work, thread_sensitive=False, executor=THREADS)
    return await run()
