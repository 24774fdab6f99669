"""A running stack and load tests against it, each as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import psutil

from personaplex_site.up.product import BASE_DIR
from tests.up.product import OURS


class RunningStack:
    def __init__(self, process: subprocess.Popen[str], data: Path) -> None:
        self.process, self.data = process, data
        self.said = process.stdout.readline()
        if not self.said:
            raise RuntimeError((data / "stack.log").read_text()[-2000:] or "no stack")
        ready = json.loads(self.said)
        self.urls: list[str] = ready["urls"]
        text = Path(ready["environment"]).read_text()
        self.site = dict(re.findall(r"export (\w+)='?(.*?)'?$", text, re.MULTILINE))
        self.environment = {**plain_environment(), **self.site}

    def load_test(self, *arguments: object, timeout: float | None = None) -> Any:
        """The figures of ``tests.load.conversations``."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.load.conversations", *map(str, arguments)],
            cwd=BASE_DIR,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            raise RuntimeError(done.stderr[-4000:])
        return json.loads(lines[-1])

    def child(self, name: str) -> psutil.Process | None:
        """The process of that word in its command line, or environment's name."""
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if any(name in part for part in process.cmdline()):
                    return process
        return None

    def log(self, name: str) -> str:
        path = self.data / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def warnings(self) -> list[str]:
        """What every process has logged, but for information."""
        logs = sorted((self.data / "logs").glob("*.log"))
        lines = [line for log in logs for line in self.log(log.stem).splitlines()]
        return [line for line in lines if " INFO " not in line]

    def set_up_django(self) -> None:
        """From here on this process may import the site's models. Once only."""
        # Playwright's own loop would have Django refuse queries in this thread.
        os.environ |= self.site | {"DJANGO_ALLOW_ASYNC_UNSAFE": "true"}
        django.setup()


def plain_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**kept, "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def running_stack(
    *arguments: object, keep: bool = False, **environment: str
) -> Iterator[RunningStack]:
    data = Path(tempfile.mkdtemp(prefix="personaplex-load-"))
    data.chmod(0o711)  # root's servers run as another account
    with (data / "stack.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.stack", "--data", str(data)]
            + [str(argument) for argument in arguments],
            cwd=BASE_DIR,
            env=plain_environment() | environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield RunningStack(process, data)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()
        if not keep:
            shutil.rmtree(data, ignore_errors=True)
