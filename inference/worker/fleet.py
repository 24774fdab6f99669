"""Several workers on one host: started, started again when they die, stopped.

Owns processes and their ends. Knows nothing of GPUs, models or sockets, and imports no
torch: a worker is a command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import math
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0  # seconds before a dead worker's next start
SETTLED_SECONDS = 60.0  # who lived so long starts again at the first delay
# Some tools send a signal to a process and to all below it: that is one, not two.
SAME_SIGNAL_SECONDS = 0.5
WRONG_OPTIONS = 2  # of a worker's exit codes: another start can't help
CANNOT_START = 1
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    """Where one worker runs, and as what."""

    name: str  # in the log, such as "gpu0"
    argv: list[str]
    environment: dict[str, str]


class Fleet:
    """``drain_seconds``: how long a worker takes to end after SIGTERM, at most;
    ``stop_seconds``: after SIGINT or a second SIGTERM. Who is later is killed."""

    def __init__(
        self, places: list[Place], drain_seconds: float, stop_seconds: float
    ) -> None:
        self._places = places
        self._seconds = {signal.SIGTERM: drain_seconds, signal.SIGINT: stop_seconds}
        self._running: dict[str, Process] = {}
        self._sent: dict[int, float] = {}  # signal: when, at first
        self._settled = False  # whether any worker ever was
        self._over = asyncio.Event()  # no worker is started any more

    async def run(self) -> int:
        """Until all have ended: after a signal, by wrong options, or because none of
        them ever lived for a minute and none runs. The worst of their exit codes, as a
        shell gives them; a worker that ended by the signal it was sent counts as 0."""
        loop = asyncio.get_running_loop()
        for number in self._seconds:
            loop.add_signal_handler(number, self._pass_on, number)
        codes = await asyncio.gather(*map(self._keep, self._places))
        return max(codes)

    def _pass_on(self, number: signal.Signals) -> None:
        """A worker drains after SIGTERM, and stops after SIGINT or another SIGTERM."""
        loop, again = asyncio.get_running_loop(), bool(self._sent)
        now = loop.time()
        if now - self._sent.get(number, -math.inf) < SAME_SIGNAL_SECONDS:
            return
        self._sent.setdefault(number, now)
        self._over.set()
        log.info("%s is sent to %d workers", number.name, len(self._running))
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        seconds = self._seconds[signal.SIGINT if again else number]
        loop.call_later(seconds, self._kill)

    def _kill(self) -> None:
        for name, process in self._running.items():
            log.error("%s does not end and is killed", name)
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, place: Place) -> int:
        deaths, code = 0, 0
        while not self._over.is_set():
            began = time.monotonic()
            code = await self._live(place)
            lived = time.monotonic() - began
            how = f"was killed by signal {-code}" if code < 0 else f"ended ({code})"
            if self._sent:
                log.info("%s %s", place.name, how)
                return 0 if -code in self._sent else _of_shell(code)
            self._settled |= lived > SETTLED_SECONDS
            deaths = 1 if lived > SETTLED_SECONDS else deaths + 1
            log.error("%s %s after %.0f s", place.name, how, lived)
            if code == WRONG_OPTIONS:
                break
            if code and not self._settled and not self._running:
                log.error("No worker lives here; all ends")
                self._over.set()
                break
            await self._pause(place, deaths)
        return 0 if self._sent else _of_shell(code)

    async def _live(self, place: Place) -> int:
        try:
            process = await create_subprocess_exec(
                *place.argv,
                env=place.environment,
                stdin=DEVNULL,
                # SIGINT: a worker whose parent was killed gives back port and GPU at
                # once, for the next parent; its sessions are rebuilt elsewhere.
                preexec_fn=_die_with(os.getpid(), signal.SIGINT),
            )
        except OSError as error:
            log.error("%s can't be started: %s", place.name, error)
            return CANNOT_START
        self._running[place.name] = process
        log.info("%s is process %d", place.name, process.pid)
        for number in self._sent:  # it came while the process was made
            process.send_signal(number)
        try:
            return await process.wait()
        finally:
            del self._running[place.name]

    async def _pause(self, place: Place, deaths: int) -> None:
        delay = min(FIRST_DELAY * 2 ** (deaths - 1), LONGEST_DELAY)
        log.info("%s is started again in %.0f s", place.name, delay)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._over.wait()


def _of_shell(code: int) -> int:
    return code if code >= 0 else 128 - code


def _die_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    """The kernel sends it when the thread that forked, our main one, ends."""

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return in_child
