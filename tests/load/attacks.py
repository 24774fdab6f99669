"""What attacks cost the people who talk, and what they leave behind.

    python -m tests.load.attacks --server daphne --out attacks.jsonl     17 minutes
    python -m tests.load.attacks --talks 8 --attackers 1,4 --seconds 5 --settle 5

People talk to echo workers all the while. Each kind of ``tests.load.attackers`` is
tried with each number of attackers; a row says the talks' latencies before, during and
after it, the database connections, the product's memory, and how soon a page is
answered again. After the last round of a kind the memory is looked at once more, a
minute later. Ends with one line of JSON, and with 1 where a bound did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil
import psycopg

from personaplex_site.up.launch import _get
from tests.load.attackers import ATTACKS
from tests.load.running import RunningStack, plain_environment, running_stack

QUIET_SECONDS = 6  # before each attack, to compare with
GRACE_SECONDS = 10  # for attackers to come to an end
BACK_SECONDS = 60  # that a page may take to be answered again, before we give up
MEMORY_MB = 100  # that may be left a minute later
BACK_WITHIN = 5.0
MB = 1024 * 1024
NAMES = {
    "daphne_server": "web",
    "uvicorn_server": "web",
    "pages_server": "pages",
    "celery": "celery",
    "echo_worker": "worker",
}


@dataclass
class Watch:
    """Looks at the product from outside, twice a second, in a thread."""

    stack: RunningStack
    database: str
    connections: list[tuple[float, int]] = field(default_factory=list)
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    async def run(self) -> None:
        with psycopg.connect(self.database, autocommit=True) as database:
            while True:
                await asyncio.to_thread(self._look, database)
                await asyncio.sleep(0.5)

    def _look(self, database: psycopg.Connection[Any]) -> None:
        row = database.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        ).fetchone()
        assert row is not None
        self.connections.append((perf_counter(), row[0]))
        self.memory.append((perf_counter(), self._sizes()))

    def _sizes(self) -> dict[str, float]:
        sizes: dict[str, float] = {}
        for child in psutil.Process(self.stack.process.pid).children():
            with contextlib.suppress(psutil.Error):
                words = " ".join(child.cmdline())
                name = next((NAMES[word] for word in NAMES if word in words), "")
                family = [child, *child.children(recursive=True)] if name else []
                used = sum(each.memory_info().rss for each in family) / MB
                if name:
                    sizes[name] = round(sizes.get(name, 0) + used, 1)
        return sizes

    def max_connections(self, since: float) -> int:
        return max((n for at, n in self.connections if at >= since), default=0)

    def max_memory(self, since: float) -> dict[str, float]:
        most: dict[str, float] = {}
        for at, sizes in self.memory:
            if at >= since:
                for name, size in sizes.items():
                    most[name] = max(size, most.get(name, 0))
        return most

    def total(self) -> float:
        return round(sum(self.memory[-1][1].values()), 1)


class Siege:
    def __init__(
        self, stack: RunningStack, watch: Watch, tally: Any, given: argparse.Namespace
    ) -> None:
        self._stack, self._watch, self._tally, self._given = stack, watch, tally, given
        self.rows: list[dict[str, Any]] = []

    async def run(self, seats: list[dict[str, str]]) -> None:
        for kind in self._given.kinds:
            await asyncio.sleep(QUIET_SECONDS)
            rest = self._watch.total()
            for attackers in self._given.attackers:
                self.rows.append(await self._attack(kind, attackers, seats))
                say(json.dumps(self.rows[-1]))
            await asyncio.sleep(self._given.settle)
            left = round(self._watch.total() - rest, 1)
            self.rows.append({"kind": kind, "rest_mb": rest, "left_mb": left})
            say(json.dumps(self.rows[-1]))

    async def _attack(
        self, kind: str, attackers: int, seats: list[dict[str, str]]
    ) -> dict[str, Any]:
        begun = perf_counter()
        said = await self._attackers(kind, attackers, seats)
        ended = perf_counter()
        back = await asyncio.to_thread(seconds_until_a_page, self._stack.urls[0])
        await asyncio.sleep(QUIET_SECONDS)
        return {
            "kind": kind,
            "attackers": attackers,
            "before_ms": self._latency(begun - QUIET_SECONDS, begun),
            "during_ms": self._latency(begun, ended),
            "after_ms": self._latency(ended, perf_counter()),
            "connections": self._watch.max_connections(begun),
            "max_mb": self._watch.max_memory(begun),
            "back_s": back,
            **said,
        }

    async def _attackers(
        self, kind: str, attackers: int, seats: list[dict[str, str]]
    ) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            # They stand for other machines: not theirs is the site's processor.
            *("nice", "-n", "19", sys.executable, "-m", "tests.load.attackers", kind),
            *("--url", self._stack.urls[0], "--attackers", str(attackers)),
            *("--seconds", str(self._given.seconds)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=plain_environment(),
        )
        try:
            async with asyncio.timeout(self._given.seconds + GRACE_SECONDS):
                out, _ = await process.communicate(json.dumps(seats).encode())
            return dict(json.loads((out.splitlines() or [b"{}"])[-1]))
        except TimeoutError:
            process.kill()
            await process.wait()
            return {"answers": "none within the time"}

    def _latency(self, since: float, until: float) -> dict[str, float]:
        seconds = self._tally.seconds
        found = [
            seconds[at].latencies
            for at in range(int(since) + 1, int(until))
            if at in seconds
        ]
        values = 1000 * np.array([x for each in found for x in each] or [np.nan])
        p50, p99 = np.percentile(values, (50, 99))
        most = values.max()
        return {"p50": round(p50, 1), "p99": round(p99, 1), "max": round(most, 1)}


def seconds_until_a_page(url: str) -> float:
    begun = time.monotonic()
    while time.monotonic() - begun < BACK_SECONDS:
        if _get(f"{url}/sign-in/"):
            return round(time.monotonic() - begun, 1)
        time.sleep(0.1)
    return -1.0


def attackers_seats(count: int) -> tuple[Any, list[dict[str, str]]]:
    """Signed-in accounts with a persona each, and one recording of six minutes."""
    from django.conf import settings

    from personas.models import Persona
    from tests.conversations.logged import write_log
    from tests.factories import ConversationFactory
    from tests.load.driver.cast import Cast

    cast = Cast(count)
    first = Persona.objects.get(pk=cast.seats[0].persona)
    talk = ConversationFactory(
        persona_version=first.current, owner=first.owner, frames=4_500
    )
    write_log(talk, range(4_500))
    return cast, [
        {
            "persona": seat.persona,
            "cookie": seat.cookie,
            "csrf_cookie": settings.CSRF_COOKIE_NAME,
            "recording": str(talk.pk),
            "recording_cookie": cast.seats[0].cookie,
        }
        for seat in cast.seats
    ]


async def besiege(stack: RunningStack, given: argparse.Namespace) -> dict[str, Any]:
    from tests.load.driver.cast import Cast
    from tests.load.driver.processes import Processes
    from tests.load.driver.run import LoadTest, Plan
    from tests.load.driver.talker import Options

    people = await asyncio.to_thread(Cast, given.talks)
    _, seats = await asyncio.to_thread(attackers_seats, max(given.attackers))
    a_kind = QUIET_SECONDS + given.settle + 5
    a_round = given.seconds + GRACE_SECONDS + QUIET_SECONDS + 2
    seconds = len(given.kinds) * (a_kind + len(given.attackers) * a_round)
    plan = Plan(seconds, 64_000, Options(stack.urls), timeline=True)
    test = LoadTest(people.seats, plan, Processes([]), progress)
    talking = asyncio.create_task(test.run())
    while not test.tally.measuring and not talking.done():
        await asyncio.sleep(0.2)
    watch = Watch(stack, stack.site["DATABASE_URL"])
    watching = asyncio.create_task(watch.run())
    siege = Siege(stack, watch, test.tally, given)
    await siege.run(seats)
    watching.cancel()
    test._plan = Plan(0, 64_000, plan.options, timeline=True)  # enough
    figures = await talking
    figures.pop("timeline", None)
    rows = siege.rows
    idle = watch.connections[0][1]
    return {"server": given.server, "rows": rows, "talks": figures, "idle": idle}


def progress(phase: str, share: float, tally: Any) -> None:
    if phase != "talking":
        sys.stderr.write(f"{phase} {share:.0%}, live {tally.live}\n")


def problems(figures: dict[str, Any], bound: int) -> list[str]:
    found = []
    for row in figures["rows"]:
        name = f"{row['kind']} × {row.get('attackers', '-')}"
        if row.get("left_mb", 0) > MEMORY_MB:
            found.append(f"{name}: {row['left_mb']} MB more a while later")
        if row.get("connections", 0) > bound:
            found.append(f"{name}: {row['connections']} database connections")
        if not 0 <= row.get("back_s", 0) <= BACK_WITHIN:
            found.append(f"{name}: a page after {row['back_s']} s")
    strange = {k: n for k, n in figures["talks"]["ended"].items() if k != "user_ended"}
    return found + ([f"talks ended otherwise: {strange}"] if strange else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", choices=("daphne", "uvicorn"), default="daphne")
    parser.add_argument("--talks", type=int, default=64)
    parser.add_argument("--attackers", type=numbers, default=[1, 16, 64])
    parser.add_argument("--kinds", type=kinds, default=list(ATTACKS))
    parser.add_argument("--seconds", type=float, default=15.0, help="of each attack")
    parser.add_argument("--settle", type=float, default=60.0)
    parser.add_argument("--bound", type=int, default=40, help="database connections")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    slots = given.talks + max(given.attackers) + 8
    with running_stack("--server", given.server, "--slots", slots) as stack:
        stack.set_up_django()
        figures = asyncio.run(besiege(stack, given))
        figures["warnings"] = len(stack.warnings())
    figures["problems"] = problems(figures, given.bound)
    line = json.dumps(figures)
    if given.out:
        with given.out.open("a") as out:
            out.write(line + "\n")
    say(line)
    return 1 if figures["problems"] else 0


def numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def kinds(text: str) -> list[str]:
    wanted = text.split(",")
    if unknown := set(wanted) - set(ATTACKS):
        raise argparse.ArgumentTypeError(f"no such kinds: {', '.join(unknown)}")
    return wanted


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
