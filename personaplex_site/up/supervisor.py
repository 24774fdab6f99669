"""Keeps children running: restarts with back-off, stops in reverse order.

Which children there are is up to :mod:`personaplex_site.up.launch`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from inference.supervision import Backoff, ended_how
from personaplex_site.up.children import Child, Command
from personaplex_site.up.console import Console
from personaplex_site.up.errors import CannotStart

POLL_SECONDS = 0.1
LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+ \S+ ")  # of a child's line
LOOP_DEATHS = 3  # in a row, each before settling: said plainly

Probe = Callable[[], Awaitable[bool]]


@dataclass
class Kept:
    """A child that has to run for as long as the product does."""

    child: Child
    task: asyncio.Task[None] | None = None
    backoff: Backoff = field(default_factory=Backoff)
    restarts: int = 0
    stopping: bool = False
    together: bool = False  # stops at the same time as the one started before it
    first_start: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def deaths(self) -> int:
        """In a row, without a settled life between them."""
        return self.backoff.deaths


class Supervisor:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.kept: list[Kept] = []
        self._one_off: Child | None = None

    async def keep(self, command: Command, *, together: bool = False) -> Kept:
        kept = Kept(Child(command, self.console), together=together)
        self.kept.append(kept)
        kept.task = asyncio.create_task(self._keep(kept))
        await kept.first_start.wait()
        return kept

    async def ready(self, kept: Kept, probe: Probe, seconds: float) -> None:
        """Wait until a child answers; CannotStart with its last words if it can't."""
        name, until = kept.child.command.name, time.monotonic() + seconds
        while not await probe():
            if kept.deaths >= LOOP_DEATHS:
                raise CannotStart(f"{name} does not start.\n{self.last_words(kept)}")
            if time.monotonic() > until:
                raise CannotStart(
                    f"{name} did not get ready within {seconds:.0f} s.\n"
                    f"{self.last_words(kept)}"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def run(self, command: Command, or_else: str = "") -> None:
        """A command that has to succeed before the start can continue; ``or_else`` says
        what it means when it doesn't."""
        child = self._one_off = Child(command, self.console)
        await child.start()
        status = await child.wait()
        self._one_off = None
        if status != 0:
            lines = (LOG_PREFIX.sub("", line) for line in child.last_lines)
            last = "\n".join(f"    {line}" for line in lines)
            what = or_else or f"{command.name} failed (exit {status})"
            raise CannotStart(f"{what}:\n{last}")

    async def stop(self) -> None:
        """The last started first; each gets its time, then is killed."""
        for kept in self.kept:
            kept.stopping = True
        if self._one_off is not None:
            await self._one_off.stop()
        waiting = list(self.kept)
        while waiting:
            group = [waiting.pop()]
            while group[-1].together and waiting:
                group.append(waiting.pop())
            await asyncio.gather(*map(self._stop, group))

    async def _stop(self, kept: Kept) -> None:
        name, begun = kept.child.command.name, time.monotonic()
        asked = await kept.child.stop()
        if kept.task is not None:
            kept.task.cancel()
            await asyncio.wait([kept.task])
        how = "stopped" if asked else "did not stop and was killed"
        self.console.say(f"{name} {how} ({time.monotonic() - begun:.1f} s)")

    def kill(self) -> None:
        for kept in self.kept:
            kept.stopping = True
            kept.child.kill()
        if self._one_off is not None:
            self._one_off.kill()

    async def _keep(self, kept: Kept) -> None:
        name = kept.child.command.name
        while not kept.stopping:
            begun = time.monotonic()
            try:
                await kept.child.start()
            except (OSError, CannotStart) as error:
                self.console.say(f"{name} can't be started: {error}")
                status = -1
            else:
                kept.first_start.set()
                status = await kept.child.wait()
            kept.first_start.set()
            if kept.stopping:
                return
            lived = time.monotonic() - begun
            await self._pause(kept, status, lived)

    async def _pause(self, kept: Kept, status: int, lived: float) -> None:
        name = kept.child.command.name
        delay, how = kept.backoff.after(lived), ended_how(status)
        self.console.say(f"{name} {how} after {lived:.0f} s; restart in {delay:.0f} s")
        if kept.deaths >= LOOP_DEATHS:
            self.console.say(
                f"{name} keeps dying: {kept.deaths} times in a row. It said last:\n"
                f"{self.last_words(kept)}"
            )
        await asyncio.sleep(delay)
        kept.restarts += 1

    def last_words(self, kept: Kept) -> str:
        lines = [f"    {line}" for line in kept.child.last_lines]
        log = f"    (all of it: {self.console.logs}/{kept.child.command.name}.log)"
        return "\n".join([*lines, log])
