"""All that docs/live-path.md quotes, one part after the other.

    python -m tests.load.everything --out figures          about an hour and 45 minutes
    python -m tests.load.everything --rehearse --out try   all of it, small, 10 minutes
    python -m tests.load.everything --only faults,kills --out figures

Wants a quiet machine, root, and Chromium. Keeps what each part prints in the folder,
with all figures as JSON lines.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tests.load.running import plain_environment
from tests.parts import run_parts, say

# name: the module, its arguments, and those of a rehearsal.
PARTS = {
    "matrix": ("matrix", [], ["--seconds", "10", "--most", "80"]),
    "faults": ("faults", ["--tapes", "{out}/tapes"], ["--calm", "8"]),
    "kills": ("kills", [], ["--kills", "4", "--people", "6"]),
    "echo": ("mouth_to_ear", ["--seconds", "60"], ["--seconds", "40"]),
    "tiny": (
        "mouth_to_ear",
        ["--seconds", "60", "--model", "tiny"],
        ["--seconds", "40", "--model", "tiny"],
    ),
    "drift": ("mouth_to_ear", ["--seconds", "900"], ["--seconds", "60"]),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--only", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rehearse", action="store_true")
    given = parser.parse_args()
    out = given.out.resolve()
    names = given.only.split(",") if given.only else list(PARTS)
    say(f"load average before: {os.getloadavg()[0]:.1f} (a quiet machine: below 0.3)")
    parts = {}
    for name in names:
        module, full, small = PARTS[name]
        arguments = [
            each.format(out=out) for each in (small if given.rehearse else full)
        ]
        keep = ["--out", str(out / f"{name}.jsonl")]
        parts[name] = ["-m", f"tests.load.{module}", *arguments, *keep]
    return run_parts(parts, out, plain_environment())


if __name__ == "__main__":
    raise SystemExit(main())
