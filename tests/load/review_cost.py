"""What the review page of a one-hour conversation asks of the site: queries, bytes from
the database, bytes of the answer and milliseconds, for the first request and the next.

    python -m tests.load.review_cost

The conversation is built in a test database of DATABASE_URL's server, which is dropped
at the end. The last line is JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    request: str
    again: bool
    status: int
    queries: int
    log_queries: int  # of those, how many read the frame log
    database_bytes: int
    answer_bytes: int
    milliseconds: float


def costs(client: Any, conversation: Any, frames: int) -> list[Row]:
    """Two rows for each request; ``client`` is signed in as the owner."""
    from django.urls import reverse

    from tests.conversations.hour import create_levels

    def address(name: str, *more: str) -> str:
        return reverse(f"conversation_{name}", args=[conversation.pk, *more])

    def twice(request: str, method: str, path: str, **headers: str) -> Iterator[Row]:
        for again in (False, True):
            yield _cost(client, request, again, method, path, headers)

    both = address("recording", "both")
    rows = [
        *twice("page", "get", address("detail")),
        *twice("data", "get", address("data")),
        *twice("levels, not ready", "get", address("levels")),
    ]
    create_levels(conversation, frames)
    return [
        *rows,
        *twice("levels", "get", address("levels")),
        *twice("recording, HEAD", "head", both),
        *twice("recording, first 64 kB", "get", both, Range="bytes=0-65535"),
        *twice("recording, whole", "get", both),
    ]


def _cost(
    client: Any,
    request: str,
    again: bool,
    method: str,
    path: str,
    headers: dict[str, str],
) -> Row:
    from tests.conversations.what_was_read import what_was_read

    begun = time.perf_counter()
    with what_was_read() as reading:
        response = getattr(client, method)(path, headers=headers)
        size = sum(len(part) for part in response)
    return Row(
        request=request,
        again=again,
        status=response.status_code,
        queries=len(reading.queries),
        log_queries=len(reading.of_the_log()),
        database_bytes=reading.bytes,
        answer_bytes=size,
        milliseconds=round(1000 * (time.perf_counter() - begun), 1),
    )


def measure() -> list[Row]:
    from django.conf import settings
    from django.test import Client, override_settings

    from tests.conversations.hour import HOUR, create_conversation
    from tests.factories import PersonaFactory

    persona = PersonaFactory(name="Ada")
    client = Client()
    client.force_login(persona.owner)
    hour = create_conversation(persona.current)
    plain = "django.contrib.staticfiles.storage.StaticFilesStorage"
    storages = {**settings.STORAGES, "staticfiles": {"BACKEND": plain}}
    with override_settings(STORAGES=storages):
        return costs(client, hour, HOUR)


def table(rows: list[Row]) -> str:
    lines = [
        f"{'request':<24}{'':<7}{'status':>7}{'queries':>9}{'of log':>8}"
        f"{'kB read':>10}{'kB sent':>10}{'ms':>9}"
    ]
    lines += [
        f"{row.request:<24}{'again' if row.again else '':<7}{row.status:>7}"
        f"{row.queries:>9}{row.log_queries:>8}{row.database_bytes / 1000:>10.1f}"
        f"{row.answer_bytes / 1000:>10.1f}{row.milliseconds:>9.1f}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.test.runner import DiscoverRunner

    runner = DiscoverRunner(verbosity=0, interactive=False)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    try:
        rows = measure()
        as_json = json.dumps([dataclasses.asdict(row) for row in rows])
        sys.stdout.write(f"{table(rows)}\n{as_json}\n")
    finally:
        runner.teardown_databases(databases)
        runner.teardown_test_environment()


if __name__ == "__main__":
    main()
