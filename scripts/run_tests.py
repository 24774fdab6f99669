"""Every check and test, in the virtual environment that prepare.py made.

With arguments, only pytest runs, with them; ``--checks`` runs only ruff, mypy and the
look for missing migrations. Without any: these checks; then what asks most of a
database or of Redis on this machine's own servers, where some answer (TEST_DATABASE_URL
and TEST_REDIS_URL name others); last, everything on embedded ones, or on DATABASE_URL
and REDIS_URL if these are set. What only computes runs beside the others, which wait
most of the time, and what drives a browser in real time runs after both.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import redis

CHECKS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "migrations": ["manage.py", "makemigrations", "--check", "--dry-run"],
}
# mypy's plugin loads the settings, which insist on these; it connects to nothing.
UNUSED = {
    "SECRET_KEY": "x" * 40,
    "WORKER_SECRET": "x" * 40,
    "DATABASE_URL": "postgres://127.0.0.1/unused",
    "REDIS_URL": "redis://127.0.0.1/0",
}
PYTEST = ["-m", "pytest", "--durations=15"]
# Migrations, locks, one-statement writes, the line, Celery's broker and the channel
# layer: where versions of the servers differ. The rest would only take minutes more.
ON_OWN_SERVERS = [
    "tests/conversations/test_appending.py",
    "tests/conversations/test_recorder.py",
    "tests/conversations/test_waiting.py",
    "tests/conversations/test_views.py",
    "tests/personas/test_prepare_voice.py",
    "tests/personas/test_recover_uploads.py",
    "tests/personas/test_voice_upload_consumer.py",
    "tests/personaplex_site",
]
OWN = "this machine's own servers"
COMPUTING = ["tests/inference", "-m", "computing"]
IN_REAL_TIME = ["tests/e2e", "tests/js"]
OTHERS = [
    "tests",
    *(f"--ignore={folder}" for folder in IN_REAL_TIME),
    "-m",
    "not computing",
]


def main() -> int:
    # Two cores: the threads of one torch do not help, those of three get in the way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    if sys.argv[1:] == ["--checks"]:
        return check()
    if len(sys.argv) > 1:
        return run([*PYTEST, *sys.argv[1:]])
    if status := check():
        return status
    with tempfile.TemporaryDirectory() as folder:
        return test_everything(Path(folder))


def test_everything(reports: Path) -> int:
    begun = time.monotonic()
    computing = reported(COMPUTING, reports / "computing.xml")
    beside = Beside(computing, reports / "computing.txt")
    try:
        own, status = own_servers(), 0
        told = f"were not tested: {own}"
        if isinstance(own, dict):
            print(f"\nDatabase and Redis tests on {OWN}:", flush=True)
            status = run([*PYTEST, "-m", "servers", *ON_OWN_SERVERS], own)
            told = "FAILED, see above" if status else "were tested too, see above"
        given = [n for n in ("DATABASE_URL", "REDIS_URL") if os.environ.get(n)]
        where = f"the given {' and '.join(given)}" if given else "embedded servers"
        print(f"\nRan {', '.join(CHECKS)}. The machine's own servers {told}.")
        print(f"Now everything else, on {where}:", flush=True)
        status = run(reported(OTHERS, reports / "others.xml")) or status
        status = beside.end() or status
        print("\nWhat drives a browser, in real time:", flush=True)
        real_time = reported(IN_REAL_TIME, reports / "in_real_time.xml")
        status = run(real_time) or status
    finally:
        beside.stop()
    aside = "" if isinstance(own, str) else f", but for {OWN}"
    minutes = (time.monotonic() - begun) / 60
    print(f"All of it{aside}: {totals(reports)} in {minutes:.1f} minutes")
    return status


class Beside:
    """A command that runs while others do, and gives way to them; what it says goes
    to a file, and is told at its end."""

    def __init__(self, command: list[str], said: Path) -> None:
        self._said = said
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                ["nice", sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> int:
        print("\nWhat only computes, run meanwhile, to its end:", flush=True)
        status = self._process.wait()
        print(self._said.read_text(errors="replace"), flush=True)
        return status

    def stop(self) -> None:
        """Nothing, once it has ended."""
        self._process.terminate()
        self._process.wait()


def reported(arguments: list[str], path: Path) -> list[str]:
    return [*PYTEST, f"--junitxml={path}", *arguments]


def totals(reports: Path) -> str:
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for report in reports.glob("*.xml"):
        for suite in ElementTree.parse(report).iter("testsuite"):
            for kind in counts:
                counts[kind] += int(suite.get(kind, 0))
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    return f"{failed} failed, {passed} passed, {counts['skipped']} skipped"


def check() -> int:
    for name, command in CHECKS.items():
        if status := run(command, UNUSED if name == "mypy" else None):
            print(f"{name} failed; no test was run.")
            return status
    return 0


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
