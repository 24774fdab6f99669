"""Processes die at random while people talk.

    python -m tests.load.kills --out kills.jsonl          50 kills, about 10 minutes
    python -m tests.load.kills --kills 4 --people 6

Two web processes, two workers that echo, 20 people who resume as docs/protocol.md
says, and who start again when a conversation is over. Afterwards: how each conversation
went on or ended, and whether a slot, a place in the queue or a row was left behind.
Ends with 1 when something was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil

from personaplex_site.up.launch import _get
from tests.load.running import RunningStack, running_stack

WITHIN_SECONDS = 30.0  # resumed or ended
SETTLE_SECONDS = 40.0  # after the last kill, until all is looked at
TARGETS = ("web-1", "web-2", "worker-1", "worker-2", "valkey", "postgres")
# What may stand as the reason of a conversation's end, and who has to have died.
CULPRITS = {
    "worker_lost": ("worker", "postgres"),
    "web_lost": ("web", "postgres"),
    "network_lost": ("web", "postgres"),
    "shutdown": ("web", "worker"),
    "no answer": ("web", "postgres"),
}


@dataclass(frozen=True)
class Kill:
    at: float  # perf_counter
    target: str
    signal: str


@dataclass
class Story:
    """One conversation as the person saw it."""

    conversation: str
    how: str
    over_at: float
    losses: list[Any]
    answered: int


@dataclass
class Outcome:
    kills: list[Kill] = field(default_factory=list)
    stories: list[Story] = field(default_factory=list)
    not_begun: Counter[str] = field(default_factory=Counter)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--every", type=float, default=10.0, help="seconds, on average")
    parser.add_argument("--only", help="targets, with commas between them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="kills.jsonl")
    given = parser.parse_args()
    random.seed(given.seed)
    stack = ("--webs", 2, "--workers", 2, "--slots", 2 * given.people)
    with running_stack(*stack, keep=True) as running:
        running.set_up_django()
        from tests.load.driver.cast import Cast

        cast = Cast(given.people)
        outcome = asyncio.run(people_talk(running, cast.seats, given))
        figures = judge(running, outcome)
    with open(given.out, "a") as out:
        out.write(json.dumps(figures) + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + f"\nlogs: {running.data}\n")
    return 1 if figures["problems"] else 0


async def people_talk(
    running: RunningStack, seats: list[Any], given: argparse.Namespace
) -> Outcome:
    outcome = Outcome()
    stopping = asyncio.Event()
    crowd = Crowd(running.urls, seats, outcome, stopping)
    clock = asyncio.create_task(crowd.clock())
    people = [asyncio.create_task(crowd.person(n)) for n in range(len(seats))]
    await asyncio.sleep(10)
    targets = given.only.split(",") if given.only else TARGETS
    for number in range(given.kills):
        kill = await asyncio.to_thread(strike, running, random.choice(targets))
        outcome.kills.append(kill)
        say(f"{number + 1:3} {kill.signal} {kill.target}, {crowd.live} live")
        await asyncio.sleep(random.uniform(0.5, 1.5) * given.every)
    await asyncio.sleep(SETTLE_SECONDS)
    stopping.set()
    await asyncio.wait(people, timeout=60)
    clock.cancel()
    return outcome


class Crowd:
    def __init__(
        self, urls: list[str], seats: list[Any], outcome: Outcome, stop: asyncio.Event
    ) -> None:
        from tests.load.driver import marks
        from tests.load.driver.talker import Options
        from tests.load.driver.tally import Tally

        self._seats, self._outcome, self._stop = seats, outcome, stop
        self._options, self._reader = Options(urls), marks.Reader()
        self._packets = [marks.packets(n, 32_000) for n in range(len(seats))]
        self.tally = Tally()
        self._talkers: dict[int, Any] = {}

    @property
    def live(self) -> int:
        return sum(talker.live for talker in self._talkers.values())

    async def clock(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for talker in list(self._talkers.values()):
                talker.tick()
            due += 0.08
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def person(self, number: int) -> None:
        from tests.load.driver.talker import Talker

        while not self._stop.is_set():
            packets, tally = self._packets[number], self.tally
            seat = self._seats[number]
            talker = Talker(number, seat, self._options, packets, tally, self._reader)
            self._talkers[number] = talker
            holding = asyncio.create_task(talker.hold())
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait({holding, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not holding.done():
                talker.end()
                await asyncio.wait({holding}, timeout=30)
            stopped.cancel()
            self._note(talker)
            await asyncio.sleep(1)

    def _note(self, talker: Any) -> None:
        if not talker.conversation:
            self._outcome.not_begun[talker.how] += 1
            return
        story = Story(
            talker.conversation,
            talker.how or "unfinished",
            time.perf_counter(),
            talker.losses,
            talker.answers,
        )
        self._outcome.stories.append(story)


def strike(running: RunningStack, target: str) -> Kill:
    """Kill one process, once it is there and works; a web process or worker is
    sometimes asked to stop instead."""
    while (process := find(running, target)) is None or not works(process, target):
        time.sleep(0.2)
    polite = target.startswith(("web", "worker")) and random.random() < 0.25
    number = signal.SIGTERM if polite else signal.SIGKILL
    process.send_signal(number)
    return Kill(time.perf_counter(), target, number.name)


def find(running: RunningStack, target: str) -> psutil.Process | None:
    kind, _, number = target.partition("-")
    words = {
        "web": lambda: running.urls[int(number) - 1].rpartition(":")[2],
        "worker": lambda: f"echo-{number}",
        "valkey": lambda: "valkey-server",
        "postgres": lambda: "bin/postgres",
    }
    return running.child(words[kind]())


def works(process: psutil.Process, target: str) -> bool:
    """A web process or worker that has started; of the servers that it listens."""
    try:
        ports = [
            connection.laddr.port
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        if not target.startswith(("web", "worker")):
            return bool(ports)
        page = "healthz" if target.startswith("web") else "readyz"
        return bool(ports and _get(f"http://127.0.0.1:{ports[0]}/{page}"))
    except psutil.Error:
        return False


def judge(running: RunningStack, outcome: Outcome) -> dict[str, Any]:
    from django.db import connections

    from conversations.models import Conversation
    from inference.models import Worker
    from tests.load.frame_logs import problems_of

    connections.close_all()  # the server behind them was killed
    problems = [p for story in outcome.stories for p in of_story(story, outcome.kills)]
    rows = list(Conversation.objects.all())
    problems += [f"{row.pk}: never ended" for row in rows if row.is_live]
    for row in rows:
        problems += problems_of(row)
    for worker in Worker.objects.alive():
        stats = stats_of(worker.url, running.environment["WORKER_SECRET"])
        left = {k: stats[k] for k in ("sessions", "parked") if stats.get(k)}
        problems += [f"{worker.name}: left behind {left}"] if left else []
    problems += places_left()
    losses = [loss for story in outcome.stories for loss in story.losses]
    back = sorted(loss.back_at - loss.at for loss in losses if loss.back_at)
    return {
        "kills": Counter(f"{k.signal} {k.target}" for k in outcome.kills),
        "conversations": len(rows),
        "ended": Counter(story.how for story in outcome.stories),
        "rows_ended": Counter(row.end_reason for row in rows),
        "not_begun": outcome.not_begun,
        "connections_lost": len(losses),
        "resumed": len(back),
        "resumed_p50_s": round(back[len(back) // 2], 2) if back else None,
        "resumed_max_s": round(back[-1], 2) if back else None,
        "frames_logged": sum(row.frames for row in rows),
        "problems": problems,
    }


def of_story(story: Story, kills: list[Kill]) -> list[str]:
    name, found = story.conversation, []
    for loss in story.losses:
        until = loss.back_at or story.over_at
        if until - loss.at > WITHIN_SECONDS:
            found.append(f"{name}: {until - loss.at:.1f} s without a connection")
    if story.how in ("user_ended", "unfinished"):
        return found + ([f"{name}: no end"] if story.how == "unfinished" else [])
    culprits = next((who for how, who in CULPRITS.items() if how in story.how), None)
    if culprits is None:
        return [*found, f"{name}: ended as {story.how!r}"]
    lately = [k for k in kills if -1 < story.over_at - k.at < 2 * WITHIN_SECONDS]
    if not any(kill.target.startswith(culprits) for kill in lately):
        found.append(f"{name}: {story.how}, but none of {culprits} died lately")
    return found


def stats_of(url: str, secret: str) -> dict[str, Any]:
    request = urllib.request.Request(
        url.replace("ws", "http", 1) + "/stats",
        headers={"Authorization": f"Bearer {secret}"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return dict(json.loads(answer.read()))


def places_left() -> list[str]:
    """Places in the queue whose visitors are gone."""
    from django.apps import apps

    try:
        places = apps.get_model("conversations", "QueueEntry").objects.count()
    except LookupError:  # this version has no queue
        return []
    return [f"{places} places in the queue left behind"] if places else []


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
