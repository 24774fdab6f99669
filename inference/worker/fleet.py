"""Several workers on one host: started, restarted when they die, stopped.

A worker is a command line here; nothing of this imports torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import time
from dataclasses import dataclass

from inference.supervision import Backoff, ChildProcess, ended_how, settled

log = logging.getLogger(__name__)

# Some tools signal a process and all its children: that counts once.
SAME_SIGNAL_SECONDS = 0.5
WRONG_OPTIONS = 2  # of a worker's exit codes: another start can't help
CANNOT_START = 1


@dataclass(frozen=True)
class WorkerCommand:
    """The command line of one worker."""

    name: str  # in the log, such as "gpu0"
    argv: list[str]
    environment: dict[str, str]


class Fleet:
    """``drain_seconds``: how long a worker takes to end after SIGTERM, at most;
    ``stop_seconds``: after SIGINT or a second SIGTERM. Then it is killed."""

    def __init__(
        self, commands: list[WorkerCommand], drain_seconds: float, stop_seconds: float
    ) -> None:
        self._commands = commands
        self._seconds = {signal.SIGTERM: drain_seconds, signal.SIGINT: stop_seconds}
        self._running: dict[str, ChildProcess] = {}
        self._sent: dict[int, float] = {}  # signal: when, at first
        self._settled = False  # whether any worker ever lived that long
        self._over = asyncio.Event()  # no more restarts

    async def run(self) -> int:
        """Until all have ended: after a signal, by wrong options, or because none of
        them ever lived for a minute and none runs. The worst of their exit codes, as a
        shell gives them; a worker that ended by the signal it was sent counts as 0."""
        loop = asyncio.get_running_loop()
        for number in self._seconds:
            loop.add_signal_handler(number, self._pass_on, number)
        codes = await asyncio.gather(*map(self._keep, self._commands))
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
            process.send_signal(number)
        seconds = self._seconds[signal.SIGINT if again else number]
        loop.call_later(seconds, self._kill)

    def _kill(self) -> None:
        for name, process in self._running.items():
            log.error("%s does not end and is killed", name)
            process.send_signal(signal.SIGKILL)

    async def _keep(self, command: WorkerCommand) -> int:
        backoff, code = Backoff(), 0
        while not self._over.is_set():
            began = time.monotonic()
            code = await self._live(command)
            lived = time.monotonic() - began
            if self._sent:
                log.info("%s %s", command.name, ended_how(code))
                return 0 if -code in self._sent else _of_shell(code)
            self._settled |= settled(lived)
            log.error("%s %s after %.0f s", command.name, ended_how(code), lived)
            if code == WRONG_OPTIONS:
                break
            if code and not self._settled and not self._running:
                log.error("No worker ever ran for long; giving up")
                self._over.set()
                break
            await self._pause(command, backoff.after(lived))
        return 0 if self._sent else _of_shell(code)

    async def _live(self, command: WorkerCommand) -> int:
        try:
            # SIGINT: a worker whose parent was killed frees port and GPU at once, for
            # the next parent; its sessions are rebuilt elsewhere.
            process = ChildProcess(command.argv, signal.SIGINT, env=command.environment)
        except OSError as error:
            log.error("%s can't be started: %s", command.name, error)
            return CANNOT_START
        self._running[command.name] = process
        log.info("%s is process %d", command.name, process.pid)
        try:
            return await process.wait()
        finally:
            del self._running[command.name]

    async def _pause(self, command: WorkerCommand, delay: float) -> None:
        log.info("%s is restarted in %.0f s", command.name, delay)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._over.wait()


def _of_shell(code: int) -> int:
    return code if code >= 0 else 128 - code
