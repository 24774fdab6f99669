"""Counts what a piece of code asks of the database, and how much it is given."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext


@dataclass
class Reading:
    queries: list[str] = field(default_factory=list)
    bytes: int = 0  # of the values of all rows

    def of_the_log(self):
        return [sql for sql in self.queries if "conversations_framechunk" in sql]


@contextmanager
def what_was_read():
    reading = Reading()

    def count(row):
        for value in row or ():
            # Numbers and dates: what Python's object takes is not what was sent.
            is_long = isinstance(value, bytes | memoryview | str)
            reading.bytes += len(value) if is_long else 8

    with pytest.MonkeyPatch.context() as patch:
        for cursor in (psycopg.Cursor, psycopg.ServerCursor):
            patch.setattr(cursor, "fetchone", _counted_one(cursor.fetchone, count))
            patch.setattr(cursor, "fetchmany", _counted(cursor.fetchmany, count))
            patch.setattr(cursor, "fetchall", _counted(cursor.fetchall, count))
        with CaptureQueriesContext(connection) as queries:
            yield reading
        reading.queries += [query["sql"] for query in queries]


def _counted_one(fetch, count):
    def fetchone(self):
        row = fetch(self)
        count(row)
        return row

    return fetchone


def _counted(fetch, count):
    def fetch_rows(self, *args, **kwargs):
        rows = fetch(self, *args, **kwargs)
        for row in rows:
            count(row)
        return rows

    return fetch_rows
