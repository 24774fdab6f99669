"""Whether two workers on two GPUs of one host slow each other.

    python3 -m tests.inference.two_gpus [--sessions 64]

The same rows on the first GPU alone, then on both at once, each in a process of its
own as `serve --gpus all` has them. Ends with a line of JSON: ticks in ms, and how many
times longer they were in company.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any


def bench(device: int, sessions: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "inference", "bench", "--random-weights"),
            *("--pairs", f"int8/int8:{sessions}", "--prompt", "0", "--ticks", "1000"),
            *("--device", f"cuda:{device}"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def tick_ms(process: subprocess.Popen[str]) -> dict[str, float]:
    said, _ = process.communicate(timeout=560)
    sys.stderr.write(said)
    if process.returncode:
        raise RuntimeError(f"bench ended with {process.returncode}")
    ticks: dict[str, float] = json.loads(said.splitlines()[-1])["rows"][0]["tick_ms"]
    return ticks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=64)
    given = parser.parse_args()
    alone = tick_ms(bench(0, given.sessions))
    both = [bench(device, given.sessions) for device in (0, 1)]
    together = [tick_ms(process) for process in both]
    result: dict[str, Any] = {"alone": alone, "together": together}
    result["times"] = {
        name: [round(each[name] / alone[name], 3) for each in together]
        for name in ("p50", "p99")
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
