"""One child process: started in its own group, bound to our life, heard, stopped.

Knows nothing of what the child is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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


class Child:
    """Not asyncio's subprocess: its wait() lasts until the pipe is closed, which a
    grandchild may hold open for ever."""

    def __init__(self, command: Command, console: Console) -> None:
        self.command, self.console = command, console
        self.last_lines: deque[str] = deque(maxlen=12)
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[int] | None = None

    async def start(self) -> None:
        command, account = self.command, self.command.account
        if command.before:
            await asyncio.to_thread(command.before)
        # On the main thread: the kernel sends the death signal when the *thread*
        # that forked ends.
        self._process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=command.environment,
            cwd=command.folder,
            process_group=0,
            umask=command.umask,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            preexec_fn=die_with(os.getpid(), command.death_signal),
        )
        self.pid = self._process.pid
        self._ended = asyncio.get_running_loop().create_future()
        waiting = threading.Thread(
            target=_wait, args=(self._process, self._ended), daemon=True
        )
        waiting.start()

    async def wait(self) -> int:
        """Pass on what the child says until it has ended; its exit status."""
        assert self._ended is not None
        hearing = asyncio.create_task(self._hear())
        try:
            status = await asyncio.shield(self._ended)
            self.kill()  # what it left behind in its group
            await asyncio.wait([hearing], timeout=1)
        finally:
            hearing.cancel()
        return status

    async def stop(self) -> bool:
        """Ask, then kill; True when asking was enough."""
        if self._process is None or self._ended is None or self._ended.done():
            return True
        self._process.send_signal(self.command.stop_signal)
        try:
            await asyncio.wait_for(
                asyncio.shield(self._ended), self.command.stop_seconds
            )
        except TimeoutError:
            self.kill()
            await self._ended
            return False
        return True

    def kill(self) -> None:
        """The whole group: also whatever the child has started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _hear(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        waiting = b""
        try:
            while data := await reader.read(65536):
                *lines, waiting = (waiting + data).split(b"\n")
                for line in lines:
                    self._line(line)
                if len(waiting) > LONGEST_LINE:
                    self._line(waiting)
                    waiting = b""
            if waiting:
                self._line(waiting)
        finally:
            transport.close()

    def _line(self, raw: bytes) -> None:
        for start in range(0, max(len(raw), 1), LONGEST_LINE):
            text = raw[start : start + LONGEST_LINE].decode(errors="replace").rstrip()
            self.last_lines.append(text)
            self.console.child(self.command.name, text)


def _wait(process: subprocess.Popen[bytes], ended: asyncio.Future[int]) -> None:
    status = process.wait()
    with contextlib.suppress(RuntimeError):  # the loop has gone
        ended.get_loop().call_soon_threadsafe(ended.set_result, status)


def die_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return in_child
