"""Whether the site works, for supervisors and load balancers.

Asked at most once a second, however many want to know, and never for longer than
CHECK_SECONDS: a part that has not answered by then does not answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.cache import cache
from django.db import DatabaseError, connection, connections
from redis.exceptions import RedisError

from inference.models import Worker

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
CHECK_SECONDS = 5.0
HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"max-age=0, no-cache, no-store, must-revalidate, private"),
]


def look() -> dict[str, bool | int]:
    """Says which part does not answer, never why: the log has the cause. ``workers`` is
    how many could be given a conversation; none is no reason to take the site out of
    service."""
    workers = database()
    return {"database": workers >= 0, "redis": redis(), "workers": max(workers, 0)}


def database() -> int:
    """How many workers are open; -1 if the database does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return Worker.objects.open().count()
    except DatabaseError as error:
        log.error("health: database: %s", error)
        return -1


def redis() -> bool:
    try:
        cache.get("health")
    except (RedisError, OSError) as error:
        log.error("health: Redis: %s", error)
        return False
    return True


def works(found: dict[str, bool | int]) -> bool:
    return bool(found["database"] and found["redis"])


class Health:
    """The newest result. A check that hangs is not joined by another one."""

    def __init__(self) -> None:
        self.checks = 0
        self._found: dict[str, bool | int] = {}
        self._found_at = 0.0
        self._check: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="health")
        self._running: dict[str, asyncio.Future[Any]] = {}

    async def answer(self) -> tuple[int, bytes]:
        """Status and JSON."""
        if time.monotonic() - self._found_at > FRESH_SECONDS:
            if self._check is None:
                self._check = asyncio.create_task(self._look())
            await asyncio.shield(self._check)
        status = 200 if works(self._found) else 503
        return status, json.dumps(self._found).encode()

    async def _look(self) -> None:
        self.checks += 1
        try:
            workers = self._ask("database", _database)
            answers = self._ask("redis", redis)
            await asyncio.wait({workers, answers}, timeout=CHECK_SECONDS)
            open_ones = workers.result() if workers.done() else -1
            self._found = {
                "database": open_ones >= 0,
                "redis": answers.done() and answers.result(),
                "workers": max(open_ones, 0),
            }
            self._found_at = time.monotonic()
        finally:
            self._check = None

    def _ask(self, part: str, work: Any) -> asyncio.Future[Any]:
        """Joins the question of the last check if that was never answered."""
        asked = self._running.get(part)
        if asked is None or asked.done():
            loop = asyncio.get_running_loop()
            asked = self._running[part] = loop.run_in_executor(self._threads, work)
        return asked


def _database() -> int:
    try:
        return database()
    finally:
        connections.close_all()
