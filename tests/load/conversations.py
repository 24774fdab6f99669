"""Hold many conversations at once with a running site, and say how that went.

    (. var/run/environment && python -m tests.load.conversations --conversations 64)

Speaks as so many browsers do: Opus frames at real pace, each answer checked. Added
latency is the time from sending a frame to receiving its answer. What an answer says is
only checked against a worker that echoes (``tests.load.echo_worker``); give --check 0
for any other. Makes accounts of its own in the site's database and removes them again.
The last line is JSON. Ends with 1 when frames were lost (without --stall or --loss),
out of order or wrong, or conversations did not end as they should.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings

django.setup()  # before the models

from inference.models import Worker  # noqa: E402
from tests.load.driver.cast import Cast  # noqa: E402
from tests.load.driver.network import Faults  # noqa: E402
from tests.load.driver.processes import Processes  # noqa: E402
from tests.load.driver.run import LoadTest, Plan  # noqa: E402
from tests.load.driver.talker import Options  # noqa: E402
from tests.load.driver.tally import Tally  # noqa: E402

BAR = 30  # characters


def main(words: Sequence[str] | None = None) -> int:
    given = arguments().parse_args(words)
    urls = [url.rstrip("/") for url in given.url.split(",")]
    # Without a check the answers may be anybody's.
    every = round(100 / given.check) if given.check > 0 else sys.maxsize
    stall_at, stall_seconds = given.stall
    faults = Faults(stall_at, stall_seconds, given.loss / 100)
    plan = Plan(
        seconds=given.seconds,
        bitrate=given.bitrate,
        options=Options(urls, every, not given.no_resume, faults),
        timeline=given.timeline,
    )
    cast = Cast(given.conversations)
    try:
        processes = Processes(_ports(urls))
        figures = asyncio.run(LoadTest(cast.seats, plan, processes, _progress).run())
    finally:
        if not given.keep:
            cast.remove()
    problems = _problems(figures, faulty=bool(faults.loss or faults.stall_seconds))
    figures |= {"conversations": len(cast.seats), "seconds": plan.seconds}
    _report(figures | {"problems": problems})
    return 1 if problems else 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conversations", type=_positive, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="of the site; of several web processes, with commas between them",
    )
    parser.add_argument(
        "--stall",
        type=_stall,
        default=(0.0, 0.0),
        metavar="AT,SECONDS",
        help="let nothing pass for so long",
    )
    parser.add_argument(
        "--loss",
        type=float,
        default=0.0,
        metavar="PERCENT",
        help="of packets, each way; felt as the wait for their retransmission",
    )
    parser.add_argument(
        "--check",
        type=float,
        default=5.0,
        metavar="PERCENT",
        help="of answers that are decoded and compared (5)",
    )
    parser.add_argument("--bitrate", type=_positive, default=settings.OPUS_BITRATE)
    parser.add_argument("--no-resume", action="store_true")
    parser.add_argument("--keep", action="store_true", help="remove nothing")
    parser.add_argument(
        "--timeline", action="store_true", help="also each second in the JSON"
    )
    return parser


def _progress(phase: str, share: float, tally: Tally) -> None:
    terminal = sys.stderr.isatty()
    if not terminal and phase == "talking" and share > 0:
        return
    bar = ("#" * round(share * BAR)).ljust(BAR)
    now = f"{phase:8} [{bar}] live {tally.live}, lost {tally.lost}"
    sys.stderr.write(f"\r\x1b[K{now}" if terminal else f"{now}\n")
    sys.stderr.flush()


def _report(figures: dict[str, Any]) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    latency = figures["added_latency_ms"]
    cpu = {n: p["cpu_percent"] for n, p in figures["processes"].items()}
    sys.stdout.write(
        f"{figures['conversations']} conversations, {figures['seconds']:.0f} s: "
        f"{figures['received']} of {figures['sent']} frames answered, "
        f"{figures['lost']} lost, {figures['reordered']} out of order, "
        f"{figures['wrong']} of {figures['checked']} wrong; added latency "
        + ", ".join(f"{name} {value} ms" for name, value in latency.items())
        + "; CPU "
        + ", ".join(f"{name} {value:.0f} %" for name, value in cpu.items())
        + "".join(f"\n{problem}" for problem in figures["problems"])
        + "\n"
    )
    at = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    sys.stdout.write(json.dumps({**at, **figures}) + "\n")


def _problems(figures: dict[str, Any], faulty: bool) -> list[str]:
    found = [n for n in ("reordered", "wrong") if figures[n]]
    if figures["lost"] and not faulty:
        found.append("lost")
    problems = [f"{figures[name]} frames {name}" for name in found]
    strange = {k: n for k, n in figures["ended"].items() if k != "user_ended"}
    if strange:
        problems.append(f"ended otherwise: {strange}")
    if figures["errors"]:
        problems.append(f"errors: {figures['errors']}")
    return problems


def _ports(urls: list[str]) -> list[tuple[str, int]]:
    """Name and port of everything that serves, as far as it is on this machine."""
    several = len(urls) > 1
    ports = [
        (f"web {i}" if several else "web", _port(url)) for i, url in enumerate(urls, 1)
    ]
    workers = list(Worker.objects.alive())
    for i, worker in enumerate(workers, 1):
        name = f"worker {i}" if len(workers) > 1 else "worker"
        ports.append((name, _port(worker.url)))
    database = settings.DATABASES["default"].get("PORT") or 5432
    redis = urlsplit(settings.REDIS_URL).port or 6379
    return [*ports, ("postgres", int(database)), ("redis", redis)]


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme in ("https", "wss") else 80)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _stall(text: str) -> tuple[float, float]:
    try:
        at, seconds = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("AT,SECONDS, for example 10,2") from None
    return at, seconds


if __name__ == "__main__":
    raise SystemExit(main())
