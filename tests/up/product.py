"""The whole product as ``scripts/up`` runs it, for tests that look from outside."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from personaplex_site.up.product import BASE_DIR, free_port

# Of the test run's own site: the product under test must make its own.
OURS = {
    *("SECRET_KEY", "WORKER_SECRET", "DATABASE_URL", "REDIS_URL", "DATA_DIR"),
    *("DJANGO_SETTINGS_MODULE", "ALLOWED_HOSTS"),
}


@contextlib.contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """A folder that root's PostgreSQL, which is another account, can enter; pytest's
    own are closed to it."""
    place = Path(tempfile.mkdtemp(prefix=f"personaplex-{name}-"))
    place.chmod(0o711)
    yield place
    shutil.rmtree(place, ignore_errors=True)


class RunningProduct:
    """One supervisor on a data folder of its own; ``start`` again after ``stop``."""

    def __init__(self, data: Path, port: int = 0, **environment: str) -> None:
        self.data, self.port = data, port or free_port()
        self.environment = {k: v for k, v in os.environ.items() if k not in OURS}
        # One thread each: two cores run all of this and Chromium.
        self.environment |= {"OMP_NUM_THREADS": "1", **environment}
        self.process: subprocess.Popen[str] | None = None
        self.output = data.parent / f"{data.name}.output"
        self.started_in = 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spawn(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "personaplex_site.up"]
        command += ["--data", str(self.data), "--port", str(self.port)]
        with self.output.open("w") as output:
            return subprocess.Popen(
                command,
                cwd=BASE_DIR,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def start(self, seconds: float = 150, talking: bool = True) -> RunningProduct:
        """``talking``: not before a worker keeps real time."""
        wanted = r"PersonaPlex is ready" if talking else r"PersonaPlex (is|answers)"
        begun = time.monotonic()
        self.process = self.spawn()
        while not re.search(wanted, self.said()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() - begun < seconds, self.said()
            time.sleep(0.1)
        self.started_in = time.monotonic() - begun
        return self

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def log(self, name: str) -> str:
        path = self.data / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Seconds from the signal to the end."""
        assert self.process is not None
        begun = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            for process in self.family():
                process.kill()
            self.process.kill()
            self.process.wait()
            raise
        return time.monotonic() - begun

    def family(self) -> list[psutil.Process]:
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def command_lines(self) -> list[str]:
        lines = []
        for process in self.family():
            with contextlib.suppress(psutil.Error):  # gone in the meantime
                lines.append(" ".join(process.cmdline()))
        return lines

    def child(self, what: str) -> psutil.Process:
        """The direct child whose command line has this word."""
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # a zombie has no command line
                if any(what in part for part in process.cmdline()):
                    return process
        raise LookupError(f"no child {what!r} among {self.family()}")

    def kill(self, what: str) -> int:
        process = self.child(what)
        process.kill()
        return process.pid

    def wait_for_another(self, what: str, than: int, seconds: float = 30) -> int:
        """The pid of the child that was started in place of a dead one."""

        def other() -> int:
            try:
                pid = self.child(what).pid
            except LookupError:
                return 0
            return pid if pid != than else 0

        return wait_until(other, seconds)

    def page(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=10) as response:
            return str(response.read().decode())

    def environment_of_site(self) -> dict[str, str]:
        """What an operator would source: DATA/run/environment."""
        text = (self.data / "run" / "environment").read_text()
        return dict(re.findall(r"export (\w+)='?(.*?)'?$", text, re.MULTILINE))


def wait_until(condition, seconds: float = 30.0):
    """The first true value; asserts that it comes in time."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
    return value


def processes_of(data: Path) -> list[psutil.Process]:
    """Every process that works in a data folder or names it in its arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            places = [
                process.cwd(),
                *process.cmdline(),
                process.environ().get("DATA_DIR"),
            ]
            if process.status() != psutil.STATUS_ZOMBIE and any(
                part and part.startswith(str(data)) for part in places
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
