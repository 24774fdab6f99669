"""All that docs/performance.md and docs/parity.md quote of a GPU, part after part.

    python3 -m tests.inference.everything_on_gpu --out figures
    python3 -m tests.inference.everything_on_gpu --out figures --only tests,parity

Needs torch, pytest and requirements-parity.txt, no Django. What each part took on an
H100 is beside it; `two` needs two GPUs.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tests.parts import run_parts

BENCH = ["-m", "inference", "bench", "--random-weights"]
CASES = "bf16/bf16:1+32,int4/int8:1,int8/int8:1+32+64+80"
# Where tests marked ``gpu`` are; the others import what a bare GPU machine lacks.
TESTS = ("bench", "engine", "kernels", "network", "loading/test_memory.py")
PARTS = {
    "tests": [  # 80 s
        *("-m", "pytest", "-c", os.devnull, "--rootdir", "."),
        *("--confcutdir", "tests/inference"),
        *("-p", "no:cacheprovider", "-q", "-m", "gpu"),
        *(f"tests/inference/{place}" for place in TESTS),
    ],
    "parity": ["-m", "tests.inference.parity.on_gpu", "--out", "{out}/parity.json"],
    "table": [*BENCH, "--pairs", CASES],
    "against": [*BENCH, "--pairs", "bf16/bf16:1+32", "--against", "moshi"],
    "soak": [*BENCH, "--pairs", "int8/int8:64", "--soak", "{soak}"],
    "two": ["-m", "tests.inference.two_gpus"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--only", help=f"of {', '.join(PARTS)}; without it all but two")
    parser.add_argument("--soak", type=int, default=300, help="seconds")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else [n for n in PARTS if n != "two"]
    values = {"out": given.out.resolve(), "soak": given.soak}
    parts = {name: [each.format(**values) for each in PARTS[name]] for name in names}
    return run_parts(parts, given.out, dict(os.environ))


if __name__ == "__main__":
    raise SystemExit(main())
