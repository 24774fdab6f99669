"""Every measurement of docs/live-path.md's table of load, by one command.

    python -m tests.load.matrix --out load.jsonl      about an hour, on a quiet machine
    python -m tests.load.matrix --seconds 20 --most 64     a rehearsal

For each arrangement (server, number of web processes): 64 conversations for ten
minutes, then the most conversations whose p99 stays within 80 ms, found by steps of 16
for a minute each. Prints a row per run; --out keeps all figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tests.load.running import RunningStack, running_stack

ARRANGEMENTS = (("daphne", 1), ("daphne", 2), ("uvicorn", 1))
CONVERSATIONS = 64
STEP = 16
SEARCH_SECONDS = 60
P99_MS = 80.0
MAX_WARNINGS = 20
HEAD = (
    "server   webs talks  secs   frames lost order wrong   p50   p95   p99   max"
    "  lag99   web%  work%  driver%  web MB/min"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--most", type=int, default=240, help="end of the search")
    parser.add_argument("--only", help="for example daphne:1,uvicorn:2")
    parser.add_argument("--out", default="load.jsonl")
    given = parser.parse_args()
    wanted = ARRANGEMENTS
    if given.only:
        pairs = (each.split(":") for each in given.only.split(","))
        wanted = tuple((server, int(webs)) for server, webs in pairs)
    say(HEAD)
    with open(given.out, "a") as out:
        for server, webs in wanted:
            stack = ("--server", server, "--webs", webs, "--slots", given.most + STEP)
            with running_stack(*stack) as running:

                def measure(talks: int, seconds: float) -> Any:
                    figures = run(running, server, webs, talks, seconds)  # noqa: B023
                    out.write(json.dumps(figures) + "\n")
                    out.flush()
                    return figures

                measure(CONVERSATIONS, given.seconds)
                search(measure, min(given.seconds, SEARCH_SECONDS), given.most)
    return 0


def search(measure: Any, seconds: float, most: int) -> None:
    """Up until it no longer holds; where the first does not, down until it does."""

    def holds(talks: int) -> bool:
        figures = measure(talks, seconds)
        p99 = figures["added_latency_ms"].get("p99", 1e9)
        return p99 <= P99_MS and not figures["problems"]

    above = range(CONVERSATIONS + STEP, most + 1, STEP)
    held = 0
    for talks in above:
        if not holds(talks):
            break
        held = talks
    if not held:
        below = range(CONVERSATIONS, 0, -STEP)
        held = next((talks for talks in below if holds(talks)), 0)
    say(f"    held within {P99_MS:.0f} ms at p99: {held or 'none of the steps'}")


def run(
    stack: RunningStack, server: str, webs: int, talks: int, seconds: float
) -> dict[str, Any]:
    urls = ",".join(stack.urls)
    figures = stack.load_test(
        *("--conversations", talks, "--seconds", seconds, "--url", urls),
        timeout=seconds + 300,
    )
    figures |= {"server": server, "webs": webs}
    say(row(figures))
    for problem in figures["problems"]:
        say(f"    {problem}")
        for warning in stack.warnings()[-MAX_WARNINGS:]:
            say(f"      {warning:.160}")
    return figures


def row(figures: dict[str, Any]) -> str:
    latency, processes = figures["added_latency_ms"], figures["processes"]

    def total(what: str, name: str) -> float:
        return sum(p.get(what, 0) for n, p in processes.items() if n.startswith(name))

    times = "".join(f"{latency.get(n, -1):6.1f}" for n in ("p50", "p95", "p99", "max"))
    return (
        f"{figures['server']:8} {figures['webs']:4} {figures['conversations']:5} "
        f"{figures['seconds']:5.0f} {figures['sent']:8} {figures['lost']:4} "
        f"{figures['reordered']:5} {figures['wrong']:5}{times} "
        f"{figures['driver_lag_ms'].get('p99', -1):6.1f} "
        f"{total('cpu_percent', 'web'):6.0f} {total('cpu_percent', 'worker'):6.0f} "
        f"{total('cpu_percent', 'driver'):8.0f} {total('mb_a_minute', 'web'):11.2f}"
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
