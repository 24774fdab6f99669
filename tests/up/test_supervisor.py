"""Children are restarted, stopped in reverse order, and heard; with real processes."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from inference import supervision
from personaplex_site.up.children import Command
from personaplex_site.up.console import Console
from personaplex_site.up.errors import CannotStart
from personaplex_site.up.supervisor import Supervisor


@pytest.fixture
def console(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    console = Console(logs)
    yield console
    console.close()


@pytest.fixture
async def supervisor(console):
    supervisor = Supervisor(console)
    yield supervisor
    await supervisor.stop()


@pytest.fixture
def command(tmp_path):
    def make(name, code, **changes):
        argv = [sys.executable, "-u", "-c", code]
        return Command(name, argv, dict(os.environ), tmp_path, **changes)

    return make


SLEEP = "import time; time.sleep(600)"


async def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


def said(console, name):
    path = console.logs / f"{name}.log"
    return path.read_text() if path.exists() else ""


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_child_that_dies_is_started_again(supervisor, command, monkeypatch):
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.05)
    kept = await supervisor.keep(command("child", SLEEP))
    first = kept.child.pid
    os.kill(first, signal.SIGKILL)

    await until(lambda: kept.restarts == 1 and kept.child.pid != first)

    assert alive(kept.child.pid)


async def test_the_delay_doubles_and_a_loop_is_said_plainly(
    supervisor, command, console, monkeypatch
):
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.05)
    kept = await supervisor.keep(command("loop", "print('why'); raise SystemExit(3)"))

    await until(lambda: kept.deaths >= 3)

    log = said(console, "up")
    assert "loop ended (3)" in log
    assert "loop keeps dying: 3 times in a row" in log
    assert "why" in log


async def test_a_child_that_can_not_get_ready_ends_the_start(
    supervisor, command, monkeypatch
):
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.01)
    kept = await supervisor.keep(command("broken", "print('no licence'); exit(1)"))

    async def never():
        return False

    with pytest.raises(CannotStart, match=r"broken does not start(.|\n)*no licence"):
        await supervisor.ready(kept, never, 20)


async def test_a_failed_setup_step_shows_its_last_words(supervisor, command):
    with pytest.raises(CannotStart, match=r"setup failed \(exit 2\)(.|\n)*bad table"):
        await supervisor.run(command("setup", "print('bad table'); exit(2)"))


async def test_children_stop_in_reverse_order(console, command):
    supervisor = Supervisor(console)
    for name in ("first", "second", "third"):
        await supervisor.keep(command(name, SLEEP))

    await supervisor.stop()

    stopped = [x.split()[0] for x in said(console, "up").splitlines() if "stopped" in x]
    assert stopped == ["third", "second", "first"]


async def test_a_child_that_ignores_the_request_is_killed(console, command):
    supervisor = Supervisor(console)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf'); time.sleep(600)"
    )
    kept = await supervisor.keep(command("deaf", code, stop_seconds=0.3))
    await until(lambda: "deaf" in said(console, "deaf"))

    begun = time.monotonic()
    await supervisor.stop()

    assert time.monotonic() - begun < 3
    assert not alive(kept.child.pid)
    assert "deaf did not stop and was killed" in said(console, "up")


async def test_grandchildren_go_with_a_killed_child(
    supervisor, command, console, monkeypatch
):
    monkeypatch.setattr(supervision, "FIRST_DELAY", 30)
    code = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print(p.pid);"
        "time.sleep(600)"
    )
    kept = await supervisor.keep(command("parent", code))
    await until(lambda: said(console, "parent").strip().isdigit())
    grandchild = int(said(console, "parent"))
    os.kill(kept.child.pid, signal.SIGKILL)

    await until(lambda: not alive(grandchild))


async def test_an_endless_line_is_cut_not_collected(supervisor, command, console):
    code = "import sys; sys.stdout.write('x' * 100_000 + '\\nend\\n')"
    await supervisor.run(command("wordy", code))

    lines = said(console, "wordy").splitlines()
    assert max(map(len, lines)) <= 8192
    assert sum(map(len, lines)) == 100_003
    assert lines[-1] == "end"


def test_log_files_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("personaplex_site.up.console.LOG_BYTES", 1000)
    console = Console(tmp_path, verbose=False)
    for number in range(1000):
        console.child("web", f"line {number}")
    console.close()

    files = sorted(p.name for p in tmp_path.iterdir())
    assert files == ["web.log", "web.log.1", "web.log.2", "web.log.3"]
    assert all(p.stat().st_size <= 1000 for p in tmp_path.iterdir())
    assert "line 999" in (tmp_path / "web.log").read_text()
