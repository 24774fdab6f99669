"""One child process: started in its own group, bound to our life, heard, stopped.

Knows nothing of what the child is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from personaplex_site.up.console import Console
from personaplex_site.up.folder import Account

LONGEST_LINE = 8192  # bytes; a longer line is cut into several
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Command:
    name: str
    argv: list[str]
    environment: dict[str, str]
    folder: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 5.0
    # Sent by the kernel when the supervisor dies without stopping its children.
    death_signal: signal.Signals = signal.SIGTERM
    umask: int = 0o077
    # Run before every start, off the event loop: clears what a dead one left.
    before: Callable[[], None] | None = None


@dataclass
class Child:
    command: Command
    console: Console
    process: asyncio.subprocess.Process | None = None
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=12))

    async def start(self) -> None:
        # Must run on the main thread: the death signal is sent when the *thread*
        # that forked ends.
        command, account = self.command, self.command.account
        if command.before:
            await asyncio.to_thread(command.before)
        self.process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=command.environment,
            cwd=command.folder,
            process_group=0,
            umask=command.umask,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            preexec_fn=die_with(os.getpid(), command.death_signal),
        )

    async def wait(self) -> int:
        """Pass on what the child says until it has ended; its exit status."""
        assert self.process is not None
        hearing = asyncio.ensure_future(self._hear())
        try:
            status = await self.process.wait()
            # Grandchildren may hold the pipe open for ever.
            await asyncio.wait([hearing], timeout=1)
        finally:
            hearing.cancel()
        self._signal_group(signal.SIGKILL)
        return status

    async def stop(self) -> bool:
        """Ask, then kill; True when asking was enough."""
        process = self.process
        if process is None or process.returncode is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.command.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.command.stop_seconds)
        except TimeoutError:
            self.kill()
            await process.wait()
            return False
        return True

    def kill(self) -> None:
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)

    async def _hear(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        waiting = b""
        while data := await self.process.stdout.read(65536):
            *lines, waiting = (waiting + data).split(b"\n")
            while len(waiting) > LONGEST_LINE:
                lines.append(waiting[:LONGEST_LINE])
                waiting = waiting[LONGEST_LINE:]
            for line in lines:
                self._line(line)
        if waiting:
            self._line(waiting)

    def _line(self, raw: bytes) -> None:
        text = raw[:LONGEST_LINE].decode(errors="replace").rstrip()
        self.last_lines.append(text)
        self.console.child(self.command.name, text)


def die_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return in_child
