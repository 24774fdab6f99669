"""All that docs/live-path.md quotes, one part after the other.

    python -m tests.load.everything --out figures          about an hour and 45 minutes
    python -m tests.load.everything --rehearse --out try   all of it, small, 10 minutes
    python -m tests.load.everything --only faults,kills --out figures

Wants a quiet machine, root, and Chromium. Each part's own output is shown as it comes
and kept in the folder, with all figures as JSON lines; a part that fails does not keep
the next from running. Ends with a list of what passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from personaplex_site.up.product import BASE_DIR
from tests.load.running import plain_environment

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
    given.out.mkdir(parents=True, exist_ok=True)
    names = given.only.split(",") if given.only else list(PARTS)
    say(f"load average before: {os.getloadavg()[0]:.1f} (a quiet machine: below 0.3)")
    passed = {}
    for name in names:
        module, full, small = PARTS[name]
        arguments = small if given.rehearse else full
        arguments = [each.format(out=given.out.resolve()) for each in arguments]
        arguments += ["--out", str(given.out.resolve() / f"{name}.jsonl")]
        begun = time.monotonic()
        say(f"\n== {name}: python -m tests.load.{module} {' '.join(arguments)}")
        passed[name] = run(module, arguments, given.out / f"{name}.txt")
        say(f"== {name}: exit {passed[name]}, {time.monotonic() - begun:.0f} s")
    say("\n" + ", ".join(f"{n}: {s or 'passed'}" for n, s in passed.items()))
    return max(passed.values())


def run(module: str, arguments: list[str], keep: Path) -> int:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", f"tests.load.{module}", *arguments],
        cwd=BASE_DIR,
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with keep.open("a") as file:
        for line in process.stdout:
            file.write(line)
            say(line.rstrip("\n"))
    return process.wait()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
