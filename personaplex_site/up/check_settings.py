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
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from personaplex_site import env, exit_if_wrong

CONNECT_SECONDS = 5
OLDEST_POSTGRES = 14
READERS = [name for name in dir(env) if name.startswith("env")]
# What stands for a missing value without a default while the others are looked at.
STAND_INS = {
    "SECRET_KEY": "-" * 50,
    "WORKER_SECRET": "-" * 50,
    "DATABASE_URL": "postgres://127.0.0.1/none",
    "REDIS_URL": "redis://none",
}


def main(servers: list[str]) -> int:
    refused = problems_of_values()
    problems = [*refused.values(), *problems_of_worker()]
    with _defaults_of(refused):
        problems += problems_of_checks()
    problems += problems_of_servers([name for name in servers if name not in refused])
    for problem in problems:
        sys.stdout.write(" ".join(problem.split()) + "\n")
    return 2 if problems else 0


def problems_of_values() -> dict[str, str]:
    """Every variable that a reader of settings.py refuses, not only the first, and what
    is wrong with it."""
    problems: dict[str, str] = {}
    settings = Path(env.__file__).with_name("settings.py")
    with _tolerant_readers(problems):
        runpy.run_path(str(settings))
    return problems


@contextlib.contextmanager
def _tolerant_readers(problems: dict[str, str]) -> Iterator[None]:
    """A refused value is noted, and its default taken, so that reading continues."""

    def tolerant(read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(name: str, *default: Any, **limits: Any) -> Any:
            try:
                return read(name, *default, **limits)
            except ImproperlyConfigured as error:
                problems[name] = str(error)
            with _defaults_of([name]):
                return read(name, *default, **limits)

        return reading

    known = {name: getattr(env, name) for name in READERS}
    for name, read in known.items():
        setattr(env, name, tolerant(read))
    try:
        yield
    finally:
        for name, read in known.items():
            setattr(env, name, read)


@contextlib.contextmanager
def _defaults_of(names: Iterable[str]) -> Iterator[None]:
    """As if these were not set."""
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ.update({n: text for n, text in STAND_INS.items() if n in before})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def problems_of_worker() -> list[str]:
    """What ``python -m inference serve`` would refuse of the environment. By itself it
    names the first one only, by its option."""
    from inference.commands import serve

    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    problems = []
    for action in parser._actions:
        variable = re.search(r"\(([A-Z_]+); default", action.help or "")
        if variable and callable(action.type) and isinstance(action.default, str):
            try:
                action.type(action.default)
            except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
                problems.append(f"{variable[1]} can't be used: {error}.")
    return problems


def problems_of_checks() -> list[str]:
    """The checks of Django and the site (personaplex_site.checks) that need no server,
    and that static files can be collected."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
    django.setup()
    from django.conf import settings
    from django.core.checks import run_checks

    from personaplex_site.checks import check_folder

    static = check_folder("STATIC_ROOT", Path(settings.STATIC_ROOT))
    return exit_if_wrong.sentences([*run_checks(), *static])


def problems_of_servers(names: list[str]) -> list[str]:
    asked = {"DATABASE_URL": _ask_database, "REDIS_URL": _ask_redis}
    return [problem for name in names if (problem := asked[name](os.environ[name]))]


def _ask_database(url: str) -> str:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            version = connection.info.server_version // 10_000
            why = f"it is PostgreSQL {version}; {OLDEST_POSTGRES} or newer is needed"
            if version >= OLDEST_POSTGRES:
                return ""
    except (psycopg.Error, OSError) as error:
        why = str(error).strip().rstrip(".")
    return (
        f"The database of DATABASE_URL can't be used: {why}. Start PostgreSQL there, "
        "mend the address, or leave DATABASE_URL out: then one is started."
    )


def _ask_redis(url: str) -> str:
    import redis

    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS
        ) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        why = str(error).rstrip(".")
        return (
            f"Redis does not answer at REDIS_URL: {why}. Start Redis or Valkey "
            "there, mend the address, or leave REDIS_URL out: then one is started."
        )
    return ""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
