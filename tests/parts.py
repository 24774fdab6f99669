"""Long measurements one after the other, each a command of its own.

Shows and keeps what each prints; one that fails does not keep the next from running.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

Commands = Mapping[str, list[str]]


def run_parts(parts: Commands, folder: Path, environment: dict[str, str]) -> int:
    """``parts``: name → arguments of Python. Output goes to ``folder``/NAME.txt, after
    what is there. Ends with a line of what passed; 0 if all did."""
    folder.mkdir(parents=True, exist_ok=True)
    passed = {}
    for name, arguments in parts.items():
        begun = time.monotonic()
        say(f"\n== {name}: python {' '.join(arguments)}")
        passed[name] = _run(arguments, folder / f"{name}.txt", environment)
        say(f"== {name}: exit {passed[name]}, {time.monotonic() - begun:.0f} s")
    say("\n" + ", ".join(f"{n}: {s or 'passed'}" for n, s in passed.items()))
    return int(any(passed.values()))


def _run(arguments: list[str], keep: Path, environment: dict[str, str]) -> int:
    process = subprocess.Popen(
        [sys.executable, "-u", *arguments],
        cwd=Path(__file__).resolve().parent.parent,
        env=environment,
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
