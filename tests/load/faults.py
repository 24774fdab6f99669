"""A bad network between the real page and the site, and what was heard of it.

    python -m tests.load.faults --out faults.jsonl        about 6 minutes
    python -m tests.load.faults --only stall --calm 6

Chromium runs in a network namespace of its own with a tone that never stops as its
microphone; the worker echoes; the loudspeaker is recorded. Needs root. For each fault:
delay from microphone to loudspeaker before and after, gaps over 60 ms, what the site
counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.load.hearing import STEP, Tape, median_delay, wandering_tone, write_wav
from tests.load.listener import Listener, chromium
from tests.load.netem import Conditions, Network, network
from tests.load.running import running_stack

BEFORE_SECONDS = 6.0  # of calm that are measured
BACK_SECONDS, BACK_MS = 5.0, 40.0  # in that time within so much of before
SETTLED_SECONDS = 2.0
AFTER_SECONDS = 12.0


Strike = Callable[[Network, Listener], None]


@dataclass(frozen=True)
class Fault:
    name: str
    strike: Strike


def under(
    conditions: Conditions, seconds: float
) -> Callable[[Network, Listener], None]:
    def strike(net: Network, listener: Listener) -> None:
        net.set(conditions)
        listener.listen(seconds)
        net.set(Conditions())

    return strike


def change_address(net: Network, listener: Listener) -> None:
    net.change_address(net.last + 1)


FAULTS = (
    Fault("none", under(Conditions(), 10)),
    Fault("stall", under(Conditions(stalled=True), 2)),
    Fault("loss", under(Conditions(delay_ms=20, loss=0.05), 60)),
    Fault("jitter", under(Conditions(jitter_ms=200), 30)),
    Fault("address", change_address),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="names, with commas between them")
    parser.add_argument("--calm", type=float, default=12.0, help="seconds before")
    parser.add_argument("--out", default="faults.jsonl")
    parser.add_argument("--tapes", type=Path, help="folder for what was recorded")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else [fault.name for fault in FAULTS]
    with network() as net, open(given.out, "a") as out:
        hosts = f"127.0.0.1,localhost,{net.here}"
        stack = running_stack("--host", "0.0.0.0", ALLOWED_HOSTS=hosts)
        with stack as running, tempfile.TemporaryDirectory() as folder:
            running.set_up_django()
            from tests.load.driver.cast import Cast

            microphone = write_wav(Path(folder) / "microphone.wav", wandering_tone())
            seat = Cast(1).seats[0]
            origin = running.urls[0].replace("127.0.0.1", net.here)
            address = f"{origin}/conversations/talk/{seat.persona}/"
            with chromium(microphone, origin, seat.cookie, run_in=net.run_in) as open_:
                for fault in FAULTS:
                    if fault.name not in names:
                        continue
                    listener = open_()
                    figures = suffer(fault, net, listener, address, given.calm)
                    figures |= counted(seat.persona)
                    keep(given.tapes, fault.name, listener.tape())
                    listener.page.close()
                    out.write(json.dumps(figures) + "\n")
                    sys.stdout.write(json.dumps(figures) + "\n")
                    sys.stdout.flush()
    return 0


def suffer(
    fault: Fault, net: Network, listener: Listener, address: str, calm: float
) -> dict[str, Any]:
    listener.start(address)
    listener.listen(calm)
    begin = listener.take()
    fault.strike(net, listener)
    end = listener.take()
    listener.listen(AFTER_SECONDS)
    phase = listener.phase
    tape = listener.tape()
    if phase == "live":
        listener.end()
    return {"fault": fault.name, "phase": phase, **heard(tape, begin, end)} | {
        "device_ms": round(listener.device_ms, 1),
        "problems": listener.problems,
    }


def heard(tape: Tape, begin: float, end: float) -> dict[str, Any]:
    """``begin`` and ``end`` of the fault, in seconds of the tape."""
    delays = tape.delays()
    before = median_delay(delays, begin - BEFORE_SECONDS, begin)
    after = median_delay(delays, end + BACK_SECONDS, end + 2 * BACK_SECONDS)
    during = [delay for at, delay in delays if begin <= at < end + BACK_SECONDS]
    gaps = tape.gaps()
    meant = [gap for at, gap in gaps if begin <= at < end + BACK_SECONDS]
    found: dict[str, Any] = {
        "seconds": round(end - begin, 1),
        "before_ms": before,
        "worst_ms": round(max(during), 1) if during else None,
        "after_ms": after,
        "gaps": len(meant),
        "gaps_s": round(sum(meant), 2),
        "longest_gap_s": round(max(meant, default=0.0), 2),
        "gaps_while_calm": len([at for at, _ in gaps if 3 < at < begin]),
    }
    if before is not None and after is not None:
        found["back"] = after - before <= BACK_MS
        good = [at for at, delay in delays if delay <= before + BACK_MS]
        found["back_in_s"] = settled(good, end, tape.seconds)
    return found


def settled(good: list[float], end: float, until: float) -> float | None:
    """Seconds from ``end`` until it is good for SETTLED_SECONDS on end; sound whose
    delay can't be measured, because it is stretched or not there, is not good."""
    times = [at for at in good if at >= end]
    for index, begin in enumerate(times):
        run = [at for at in times[index:] if at <= begin + SETTLED_SECONDS]
        gaps = np.diff([*run, min(begin + SETTLED_SECONDS, until)])
        if gaps.max(initial=0.0) <= 2 * STEP:
            return round(begin - end, 2)
    return None


def counted(persona: str) -> dict[str, Any]:
    """What the site says of the newest conversation."""
    from conversations.models import Conversation

    row = Conversation.objects.filter(persona_version__persona=persona).first()
    if row is None:
        return {}
    names = ("frames", "dropped_frames", "late_frames", "missing_frames", "end_reason")
    more = [name for name in ("resumes", "moves", "events") if hasattr(row, name)]
    return {name: getattr(row, name) for name in (*names, *more)}


def keep(folder: Path | None, name: str, tape: Tape) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_wav(folder / f"{name}-microphone.wav", tape.mic, round(tape.rate))
        write_wav(folder / f"{name}-heard.wav", tape.out, round(tape.rate))


if __name__ == "__main__":
    raise SystemExit(main())
