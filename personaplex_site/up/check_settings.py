"""Whether the settings can be used, before anything is started.

    python -m personaplex_site.up.check_settings [DATABASE_URL] [REDIS_URL]

Run by the supervisor in a process of its own, with the environment that the product
will have; the words name servers that are there already and must answer. One line for
each problem, on standard output; ends with 2 when there is any. Starts nothing, changes
nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from personaplex_site import env

CONNECT_SECONDS = 5
READERS = [name for name in dir(env) if name.startswith("env")]


def main(servers: list[str]) -> int:
    problems = [*problems_of_values(), *problems_of_worker()]
    if not problems:
        problems = [*problems_of_checks(), *problems_of_servers(servers)]
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    return 2 if problems else 0


def problems_of_values() -> list[str]:
    """Every value that a reader of settings.py refuses, not only the first."""
    problems: list[str] = []
    settings = Path(env.__file__).with_name("settings.py")
    with _tolerant_readers(problems):
        runpy.run_path(str(settings))
    return problems


@contextlib.contextmanager
def _tolerant_readers(problems: list[str]) -> Iterator[None]:
    """A refused value is noted, and its default taken, so that reading goes on."""

    def tolerant(read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(name: str, *default: Any, **limits: Any) -> Any:
            try:
                return read(name, *default, **limits)
            except ImproperlyConfigured as error:
                problems.append(str(error))
            with _without(name), contextlib.suppress(ImproperlyConfigured):
                return read(name, *default, **limits)
            return STAND_INS.get(name, "")

        return reading

    known = {name: getattr(env, name) for name in READERS}
    for name, read in known.items():
        setattr(env, name, tolerant(read))
    try:
        yield
    finally:
        for name, read in known.items():
            setattr(env, name, read)


# What stands for a missing value without a default while the others are looked at.
STAND_INS = {"DATABASE_URL": "postgres://127.0.0.1/none", "REDIS_URL": "redis://none"}


@contextlib.contextmanager
def _without(name: str) -> Iterator[None]:
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def problems_of_worker() -> list[str]:
    """What ``python -m inference serve`` would refuse of the environment."""
    from inference.commands import serve

    parser = argparse.ArgumentParser(prog="The inference worker")
    serve.add_arguments(parser)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        parser.parse_args([])
        return []
    return [said.getvalue().strip().splitlines()[-1]]


def problems_of_checks() -> list[str]:
    """The site's own checks (personaplex_site.checks) that need no server."""
    import django
    from django.core.checks import run_checks

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
    django.setup()
    return [
        f"{message.msg} {message.hint or ''}".strip()
        for message in run_checks()
        if message.is_serious()
    ]


def problems_of_servers(names: list[str]) -> list[str]:
    asked = {"DATABASE_URL": _ask_database, "REDIS_URL": _ask_redis}
    return [problem for name in names if (problem := asked[name](os.environ[name]))]


def _ask_database(url: str) -> str:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=CONNECT_SECONDS).close()
    except (psycopg.Error, OSError) as error:
        why = " ".join(str(error).split())
        return (
            f"The database of DATABASE_URL can't be used: {why}. Start PostgreSQL "
            "there, mend the address, or leave DATABASE_URL out: then one is started."
        )
    return ""


def _ask_redis(url: str) -> str:
    import redis

    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS
        ) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        return (
            f"Redis does not answer at REDIS_URL: {error}. Start Redis or Valkey "
            "there, mend the address, or leave REDIS_URL out: then one is started."
        )
    return ""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
