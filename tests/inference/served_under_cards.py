"""One conversation through ``serve``, as other cards would serve it.

    python3 -m tests.inference.served_under_cards --input SPEECH.wav
        --models tiny,FOLDER [--cards ",A100,RTX 4090"] [--out FILE.json]

FOLDER: a model directory, such as ``tests.inference.measure_loading --write`` makes.
For each card and model: what the worker chose by itself, how long it took to start, the
tick, the memory that its process held of the GPU at most, and whether the tokens are
those of the card that is there. ``--formats`` (WEIGHTS/KV) takes the choice from it.
"""

import argparse
import asyncio
import json
import sys
import urllib.request
from pathlib import Path

from inference.cards import PRETEND
from inference.worker.bearer import authorization
from tests.inference.parity.on_gpu_serving import (
    ROLE,
    SECRET,
    compared,
    frames_of,
    serving,
    session,
)
from tests.inference.under_cards import CARDS, label

FRAMES = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--models", default="tiny")
    parser.add_argument("--cards", default=",".join(("", *CARDS)))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--formats", default="", help="WEIGHTS/KV; the worker's choice")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    frames = frames_of(given.input, FRAMES)
    found, failed = [], False
    for model in given.models.split(","):
        first = None
        for card in given.cards.split(","):
            row = {"card": label(card), "model": Path(model).name}
            try:
                tokens, figures = conversation(given, model, card, frames)
            except RuntimeError as error:
                row["failed"], failed = str(error)[-3000:], True
            else:
                first = tokens if first is None else first
                row |= figures | compared(tokens, first)
            found.append(row)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    if given.out:
        given.out.write_text(json.dumps(found) + "\n")
    return int(failed)


def conversation(given, model, card, frames):
    options = ["--model", model, "--device", given.device, "--slots", "1"]
    if given.formats:
        weights, kv = given.formats.split("/")
        options += ["--weights", weights, "--kv", kv]
    with serving(options, {PRETEND: card}) as worker:
        tokens, report = asyncio.run(session(worker.url, card, ROLE, b"", frames))
        stats = stats_of(worker.url)
        report["engine"] = stats["engine"]
        if stats["why_not_fast"]:
            report["why_not_fast"] = stats["why_not_fast"]
        report["gpu_gb"] = gpu_memory(worker.process.pid)
        lines = worker.log.read_text().splitlines()
        report["chosen"] = [line.split(" INFO ")[-1] for line in lines if "GB" in line]
        return tokens, report | {"ready_s": worker.ready_s, "exit": worker.stop()}


def stats_of(url):
    request = urllib.request.Request(
        url.replace("ws:", "http:") + "/stats", headers=authorization(SECRET)
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def gpu_memory(pid):
    """GB of the first GPU that a process holds; all that is in use where the driver
    does not say whose it is."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        own = [each.usedGpuMemory for each in running if each.pid == pid]
        used = own[0] if own and own[0] else pynvml.nvmlDeviceGetMemoryInfo(handle).used
    except Exception:  # noqa: BLE001 - no GPU, no driver, no such figure
        return None
    return round(used / 1e9, 2)


if __name__ == "__main__":
    sys.exit(main())
