"""Every check and test, in the virtual environment that prepare.py made.

With arguments, only pytest runs, with them. Without: ruff, mypy, missing migrations;
then what touches a database or Redis on this machine's own servers, where some answer
(TEST_DATABASE_URL and TEST_REDIS_URL name others); last, everything on embedded ones.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import time

import psycopg
import redis

CHECKS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "migrations": ["manage.py", "makemigrations", "--check", "--dry-run"],
}
PYTEST = ["-m", "pytest", "--durations=15"]


def main() -> int:
    # Two cores: the threads of one torch do not help, those of three get in the way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    if len(sys.argv) > 1:
        return run([*PYTEST, *sys.argv[1:]])
    for name, command in CHECKS.items():
        if status := run(command):
            print(f"{name} failed; no test was run.")
            return status
    own = own_servers()
    first = 0
    if isinstance(own, dict):
        print("\nDatabase and Redis tests on this machine's own servers:", flush=True)
        first = run([*PYTEST, "-m", "servers and not e2e"], own)
    told = "were tested too" if isinstance(own, dict) else f"were not tested: {own}"
    print(f"\nRan {', '.join(CHECKS)}. The machine's own database and Redis {told}.")
    print("Everything, on embedded servers:", flush=True)
    last = run(PYTEST)
    if first and not last:
        print("The tests on the machine's own servers failed, see above.")
    return first or last


def run(command: list[str], environment: dict[str, str] | None = None) -> int:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, *command], env=os.environ | (environment or {})
    )
    if command[:2] != PYTEST[:2]:
        took = time.monotonic() - begun
        print(f"{' '.join(command)}: exit {done.returncode}, {took:.0f} s", flush=True)
    return done.returncode


def own_servers() -> dict[str, str] | str:
    """Addresses of usable servers, or why there are none."""
    user = getpass.getuser()
    database = os.environ.get("TEST_DATABASE_URL") or (
        f"postgres://{user}@127.0.0.1:5432/personaplex_{os.getpid()}"
    )
    broker = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379/15"
    try:
        server = database.rsplit("/", 1)[0] + "/postgres"
        with psycopg.connect(server, connect_timeout=3) as connection:
            may = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = user"
            ).fetchone()
            if not may or not may[0]:
                return f"{user} may not create databases there"
        with redis.Redis.from_url(broker, socket_connect_timeout=3) as client:
            client.ping()
    except (psycopg.Error, redis.RedisError) as error:
        return " ".join(str(error).split())
    return {"DATABASE_URL": database, "REDIS_URL": broker}


if __name__ == "__main__":
    raise SystemExit(main())
