"""One child process: started in its own group, its output logged, stopped."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference.supervision import ChildProcess
from personaplex_site.up.console import Console
from personaplex_site.up.folder import Account

LONGEST_LINE = 8192  # bytes; a longer line is cut into several


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
    def __init__(self, command: Command, console: Console) -> None:
        self.command, self.console = command, console
        self.last_lines: deque[str] = deque(maxlen=12)
        self._process: ChildProcess | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        command, account = self.command, self.command.account
        if command.before:
            await asyncio.to_thread(command.before)
        self._process = ChildProcess(
            command.argv,
            command.death_signal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=command.environment,
            cwd=command.folder,
            process_group=0,
            umask=command.umask,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )

    async def wait(self) -> int:
        """Log what the child writes until it has ended; its exit status."""
        assert self._process is not None
        output = asyncio.create_task(self._log(self._process))
        try:
            status = await self._process.wait()
            self.kill()  # what it left behind in its group
            await asyncio.wait([output], timeout=1)
        finally:
            output.cancel()
        return status

    async def stop(self) -> bool:
        """Ask, then kill; True when asking was enough."""
        process = self._process
        if process is None or process.ended:
            return True
        process.send_signal(self.command.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.command.stop_seconds)
        except TimeoutError:
            self.kill()
            await process.wait()
            return False
        return True

    def kill(self) -> None:
        """The whole group: also whatever the child has started."""
        if self._process is not None:
            self._process.kill_group()

    async def _log(self, process: ChildProcess) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
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
