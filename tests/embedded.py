"""Database and broker for tests, started when no address is given.

``tests/settings.py`` calls :func:`ensure` before Django's settings load, so a plain
``pytest`` works on a machine that runs neither PostgreSQL nor Redis. With DATABASE_URL
or REDIS_URL set, those servers are used.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from inference.supervision import die_with
from personaplex_site.up.children import Command
from personaplex_site.up.folder import DataFolder
from personaplex_site.up.postgres import EmbeddedPostgres
from personaplex_site.up.product import free_port
from personaplex_site.up.valkey import EmbeddedValkey

# A crash may lose a test's rows: that is what makes them quick.
HASTY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def ensure() -> None:
    """Set in the environment what the site needs and is not set yet."""
    os.environ.setdefault("SECRET_KEY", "for-tests-only-0123456789-0123456789")
    os.environ.setdefault("WORKER_SECRET", "for-tests-only-9876543210-9876543210")
    wanted = [n for n in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(n)]
    if "DATA_DIR" not in os.environ or wanted:
        place = Path(tempfile.mkdtemp(prefix="personaplex-tests-"))
        place.chmod(0o711)  # root's servers run as another account
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        os.environ.setdefault("DATA_DIR", str(place))
        _start(DataFolder(place), wanted)


def _start(folder: DataFolder, wanted: list[str]) -> None:
    if "DATABASE_URL" in wanted:
        database = EmbeddedPostgres(folder, "for-tests-only", free_port())
        database.initialise()
        _run(database.command(*HASTY), database.answers, folder)
        os.environ["DATABASE_URL"] = database.url
    if "REDIS_URL" in wanted:
        broker = EmbeddedValkey(folder, "for-tests-only", free_port())
        broker.initialise()
        _run(broker.command(), broker.answers, folder)
        os.environ["REDIS_URL"] = broker.url


def _run(command: Command, answers: Callable[[], bool], folder: DataFolder) -> None:
    account = command.account
    with (folder.path / f"{command.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command.argv,
            env=command.environment,
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            preexec_fn=die_with(os.getpid(), command.death_signal),
        )
    atexit.register(_stop, process, command.stop_signal)
    until = time.monotonic() + 60
    while not answers():
        if process.poll() is not None or time.monotonic() > until:
            said = (folder.path / f"{command.name}.log").read_text()
            raise RuntimeError(f"{command.name} does not start:\n{said}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    process.send_signal(number)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
