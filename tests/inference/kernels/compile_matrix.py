"""Every CUDA program that any card may ask for, compiled for every generation.

    python -m tests.inference.kernels.compile_matrix

compiles what ``compiled.json`` does not know yet, on any machine (no GPU, no driver),
and writes what the assembler says of each: registers of a thread, bytes spilled, bytes
of its stack, bytes of shared memory that the source itself takes. Run it after a change
to a source, to ``kernels/shapes.py``, or of the compiler in requirements-dev.txt. From
nothing it takes five minutes on one core.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from inference.cards import CAPABILITIES, CARDS, SHARED, CardSpec
from inference.kernels import shapes
from inference.kernels.shapes import Program
from tests.inference.kernels.sizes import programs

RECORD = Path(__file__).parent / "compiled.json"
COMMAND = "python -m tests.inference.kernels.compile_matrix"
SOURCES = Path(shapes.__file__).parent / "cuda"
FIGURES = ("registers", "spilled", "stack", "shared")
# Of multiprocessors, as cards have them that are in no table.
COUNTS = range(4, 264, 16)
SAVED_EVERY = 100  # cells


def asked() -> dict[tuple[int, int], dict[Program, int]]:
    """By compute capability: every program, with the most shared memory that a launch
    of it asks for."""
    alike: dict[tuple[object, ...], dict[Program, int]] = {}
    found = {}
    for capability in CAPABILITIES:
        # All that shapes know of a generation.
        known = SHARED[capability], capability >= shapes.MANY_REGISTERS
        if known not in alike:
            alike[known] = _asked_by(capability)
        found[capability] = alike[known]
    return found


def _asked_by(capability: tuple[int, int]) -> dict[Program, int]:
    found: dict[Program, int] = {}
    for card in _cards(capability):
        for program in programs(card):
            bare = replace(program, shared=0)
            found[bare] = max(found.get(bare, 0), program.shared)
    return found


def _cards(capability: tuple[int, int]) -> Iterator[CardSpec]:
    block, sm = SHARED[capability]
    model = replace(CARDS[0], capability=capability, shared_block=block, shared_sm=sm)
    for sms in sorted({*COUNTS, *(card.sms for card in CARDS)}):
        yield replace(model, sms=sms)


def title(program: Program) -> str:
    given = (f"{name}={value}" for name, value in program.definitions)
    return " ".join((program.source, *given))


@functools.cache
def content(source: str, compiler: str) -> str:
    """Of all that a program is made of but its definitions, which its title has."""
    hashed = hashlib.sha256(compiler.encode())
    for path in (SOURCES / source, *sorted(SOURCES.glob("*.cuh"))):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def compiler() -> str:
    from importlib.metadata import version

    return version("nvidia-cuda-nvrtc")


def report(program: Program, capability: tuple[int, int]) -> list[int]:
    """What the assembler says: ``FIGURES``."""
    from inference.kernels.nvrtc import REPORT, compiled

    target = "sm_{}{}".format(*capability)
    _, said = compiled(program.source, program.definitions, target, REPORT)

    def figure(pattern: str) -> int:
        return sum(int(number) for number in re.findall(pattern, said))

    return [
        figure(r"Used (\d+) registers"),
        figure(r"(\d+) bytes spill stores") + figure(r"(\d+) bytes spill loads"),
        figure(r"(\d+) bytes stack frame"),
        figure(r"(\d+) bytes smem"),
    ]


def key(capability: tuple[int, int]) -> str:
    return "{}.{}".format(*capability)


def read() -> dict[str, dict[str, list[int]]]:
    """By program: its content, and its figures by compute capability."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def write(record: dict[str, dict[str, list[int]]]) -> None:
    lines = [
        f"{json.dumps(name)}: {json.dumps(record[name])}" for name in sorted(record)
    ]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> int:
    with_version, old, new, count = compiler(), read(), {}, 0
    for capability, wanted in asked().items():
        for program in wanted:
            name = title(program)
            current = content(program.source, with_version)
            known = old.get(name, {})
            entry = new.setdefault(name, {"content": current})
            if known.get("content") == current and key(capability) in known:
                entry[key(capability)] = known[key(capability)]
                continue
            entry[key(capability)] = report(program, capability)
            count += 1
            if count % SAVED_EVERY == 0:
                sys.stdout.write(f"{count} compiled, now {key(capability)}\n")
                sys.stdout.flush()
                write(old | new)
    write(new)
    cells = sum(len(entry) - 1 for entry in new.values())
    sys.stdout.write(f"{cells} cells of {len(new)} programs, {count} compiled now\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
