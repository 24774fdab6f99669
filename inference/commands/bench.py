"""Measure the tick of many sessions on this GPU, against its floor.

States first what the memory can do, then runs a row for each number of sessions and
each pair of number formats, every session with its window filled, and ends with one
line of JSON. A tick is all that 80 ms of every session take: sound in, encoder,
language model, decoder, sound out.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from inference.commands._options import add_pretend, whole

KERNEL_ROWS = (1, 32, 64)
PROFILED = "{part:9s}{us:9.1f} us {count:6.1f} x {kernel:.70s}"
HEAD = (
    "sessions weights  kv    window   p50     p99     max  encode temporal  depth "
    "decode   floor  host  memory GB"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        default="personaplex-7b",
        help="sizes of the model: a built-in name (default %(default)s)",
    )
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="draw weights of these sizes instead of loading them",
    )
    parser.add_argument(
        "--model", default="", help="a directory or a name, instead of --config"
    )
    parser.add_argument("--device", default="cuda:0", help="default %(default)s")
    add_pretend(parser)
    parser.add_argument(
        "--sessions", default="1", help="how many at once, with commas: 1,32,64"
    )
    parser.add_argument(
        "--weights", default="bf16", help="bf16, int8, fp8, int4, with commas"
    )
    parser.add_argument("--kv", default="bf16", help="bf16, int8, with commas")
    parser.add_argument(
        "--pairs",
        default="",
        help="weights/kv:sessions+sessions, with commas, instead of the three above",
    )
    parser.add_argument(
        "--window", default="full", help="frames that a session has behind it, or full"
    )
    parser.add_argument("--ticks", type=whole(1, 100_000), default=200)
    parser.add_argument(
        "--prompt", type=whole(0, 3000), default=362, help="rows of the prompt; 0: none"
    )
    parser.add_argument(
        "--kernels",
        action="store_true",
        help="time each kernel by itself too, with the last row's model",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="after each row, where the time of its parts goes, kernel by kernel",
    )
    parser.add_argument(
        "--against",
        choices=("moshi",),
        help="run the published package moshi at the same numbers of sessions too",
    )
    parser.add_argument(
        "--soak",
        type=whole(0, 86_400),
        default=0,
        metavar="SECONDS",
        help="instead of rows, let the sessions of the first case join, leave and "
        "pause at random, and hold four of them against runs of their own",
    )
    parser.add_argument(
        "--plain", action="store_true", help="use the plain path (very slow)"
    )


def run(arguments: argparse.Namespace) -> int:
    import torch

    from inference.bench.ticks import Bench

    if not torch.cuda.is_available():
        sys.stderr.write("bench needs a CUDA GPU, and torch sees none here.\n")
        return 1
    source, device = arguments.model, arguments.device
    bench = Bench(arguments.config, source, device, arguments.plain)
    _say(f"{bench.name}, torch {torch.__version__}")
    _say(f"reads {bench.bandwidth / 1e12:.2f} TB/s, {bench.launch_us:.2f} us a kernel")
    if arguments.soak:
        weights, kv, sessions = cases(arguments)[0]
        soaked = bench.soak(sessions, weights, kv, arguments.soak)
        _say(json.dumps({"device": bench.name, "soak": soaked}))
        return 0 if not soaked["unequal"] else 1
    rows: list[dict[str, Any]] = []
    _say(HEAD)
    for weights, kv, sessions in cases(arguments):
        row = bench.row(sessions, weights, kv, arguments.window, arguments.ticks)
        rows.append(row)
        _say(_line(row))
        if arguments.profile and "error" not in row:
            for each in bench.profile():
                _say(PROFILED.format(**each))
    prompt = bench.prompt(arguments.prompt) if arguments.prompt else None
    kernels = bench.kernels(KERNEL_ROWS) if arguments.kernels else []
    for each in kernels:
        _say("{rows:8d} {kernel:16s}{us:9.2f} us {tb_s:6.2f} TB/s".format(**each))
    theirs = []
    if arguments.against:
        from inference.bench.moshi import moshi_row

        bench.release()
        for sessions in sorted({row["sessions"] for row in rows}):
            theirs.append(moshi_row(sessions, arguments.ticks, bench.device))
            _say(str(theirs[-1]))
        for each in ratios(rows, theirs):
            _say("{sessions:8d} {weights:7s} {kv:5s} {ratio:.2f} times".format(**each))
    result = {
        "device": bench.name,
        "torch": torch.__version__,
        "read_tb_s": round(bench.bandwidth / 1e12, 3),
        "launch_us": round(bench.launch_us, 2),
        "rows": rows,
        "prompt": prompt,
    }
    if theirs:
        result |= {"against": theirs, "ratios": ratios(rows, theirs)}
    _say(json.dumps(result))
    return 0


def ratios(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """How many times their median tick takes as long as ours."""
    ticks = {
        row["sessions"]: row["tick_ms"]["p50"] for row in theirs if "error" not in row
    }
    return [
        {
            **{name: row[name] for name in ("sessions", "weights", "kv")},
            "ratio": round(ticks[row["sessions"]] / row["tick_ms"]["p50"], 2),
        }
        for row in ours
        if "error" not in row and row["sessions"] in ticks
    ]


def cases(arguments: argparse.Namespace) -> list[tuple[str, str, int]]:
    """(weights, kv, sessions), one weight format after the other."""
    if arguments.pairs:
        found = []
        for pair in arguments.pairs.split(","):
            formats, _, counts = pair.partition(":")
            weights, _, kv = formats.partition("/")
            found += [(weights, kv, int(n)) for n in counts.split("+")]
        return found
    return [
        (weights, kv, int(n))
        for weights in arguments.weights.split(",")
        for kv in arguments.kv.split(",")
        for n in arguments.sessions.split(",")
    ]


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['sessions']:8d} {row['weights']:7s} {row['kv']:5s} {row['error']}"
    tick = row["tick_ms"]
    figures = (tick["p50"], tick["p99"], tick["max"])
    parts = [row[f"{part}_ms"] for part in ("encode", "temporal", "depth", "decode")]
    return (
        f"{row['sessions']:8d} {row['weights']:7s} {row['kv']:5s} {row['window']:6d}"
        + "".join(f"{figure:8.2f}" for figure in (*figures, *parts, row["floor_ms"]))
        + f"{row['host_ms']:6.2f}{row['memory_gb']:10.2f}"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
