"""Child processes that have to run: when they are restarted, and how they end.

Shared by the two supervisors, ``serve --gpus`` (:mod:`inference.worker.fleet`) and
``scripts/up`` (``personaplex_site.up``). Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

FIRST_DELAY, MAX_DELAY = 1.0, 30.0  # seconds before a restart
SETTLED_SECONDS = 60.0  # after so long a life, restarts begin at the first delay again

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Backoff:
    """The restarts of one child. ``deaths``: in a row, none after a settled life."""

    def __init__(self) -> None:
        self.deaths = 0

    def after(self, lived: float) -> float:
        """Count a death after ``lived`` seconds; how long to wait before a restart."""
        self.deaths = 1 if settled(lived) else self.deaths + 1
        # The exponent is bounded too: a power of a thousand deaths is no float.
        return min(FIRST_DELAY * 2 ** min(self.deaths - 1, 32), MAX_DELAY)


def settled(lived: float) -> bool:
    return lived > SETTLED_SECONDS


class ChildProcess:
    """A process without input that the kernel signals when our process dies.

    Not asyncio's subprocess: its wait() lasts until the output pipe is closed, which
    a grandchild may keep open for ever."""

    def __init__(
        self, argv: list[str], death_signal: signal.Signals, **options: Any
    ) -> None:
        """Starts it; OSError if that fails. ``options`` are subprocess.Popen's. Call
        it on the main thread: the kernel sends the death signal when the *thread* that
        forked ends."""
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with(os.getpid(), death_signal),
            **options,
        )
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = threading.Thread(
            target=_wait, args=(self._process, self._ended), daemon=True
        )
        waiting.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> Any:
        return self._process.stdout

    @property
    def ended(self) -> bool:
        return self._ended.done()

    async def wait(self) -> int:
        """Its exit status; negative: the signal that killed it."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill_group(self) -> None:
        """It and everything it has started; only for one with a group of its own."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def ended_how(status: int) -> str:
    """For a log line that begins with the child's name."""
    return f"was killed by signal {-status}" if status < 0 else f"ended ({status})"


def die_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    """To run in a child after the fork: the kernel sends it this signal when the
    thread that forked has ended."""

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return in_child


def _wait(process: subprocess.Popen[bytes], ended: asyncio.Future[int]) -> None:
    status = process.wait()
    with contextlib.suppress(RuntimeError):  # the loop is closed
        ended.get_loop().call_soon_threadsafe(ended.set_result, status)
