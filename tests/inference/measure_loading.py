"""Write a random checkpoint of any size, load it, and say what memory that took.

    python -m tests.inference.measure_loading [--size 7b] [--device cuda] [--to DIR]
        [--weights int8] [--read MODEL | --write MODEL]

With --weights as ``serve --weights`` loads it, for the fast engine. --write makes a
whole model directory and no more. Needs neither Django nor pytest. The last line is
JSON. Bounds: on the host 2 GB above the model's own memory, on a GPU 0.5 GB.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from inference.engine.gpu.loading import load_for_gpu
from inference.loading.checkpoint import BUILT_IN, load_codec, load_language_model
from inference.network.config import (
    PERSONAPLEX_7B,
    TINY,
    DepthConfig,
    TemporalConfig,
)
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.network.stored import stored_tensors

HOST_BOUND, GPU_BOUND = 2_000_000_000, 500_000_000
SIZES = {
    "7b": PERSONAPLEX_7B,
    "half-gb": replace(
        PERSONAPLEX_7B,
        temporal=TemporalConfig(dim=768, layers=8, heads=6, context=3000),
        depth=DepthConfig(dim=512, layers=4, heads=8, steps_stored=16),
    ),
}
POOL = 32 * 1024 * 1024


def write_language_model(path, config):
    """bf16, tensor by tensor from a pool of random numbers."""
    lm = LanguageModel(config, torch.bfloat16, "meta")
    header, end = {}, 0
    for stored in stored_tensors(lm):
        start, end = end, end + 2 * torch.Size(stored.shape).numel()
        shape, span = list(stored.shape), [start, end]
        header[stored.name] = {"dtype": "BF16", "shape": shape, "data_offsets": span}
    generator = torch.Generator().manual_seed(1)
    pool = (torch.randn(POOL // 2, generator=generator) * 0.02).to(torch.bfloat16)
    block = pool.view(torch.uint8).numpy().tobytes()
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, end, POOL):
            file.write(block[: min(POOL, end - start)])


def status(name):
    """Bytes: VmRSS now, VmHWM at most since the last reset; pages of files counted."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def tokenizer(pieces):
    """The built-in one with made-up words behind it: a message of protocol buffers goes
    on where another is put after it."""
    written = (BUILT_IN / TINY.name / TINY.tokenizer).read_bytes()
    for number in range(TINY.text_cardinality, pieces):
        word = f"\u2581w{number}".encode()
        piece = bytes([0x0A, len(word)]) + word + b"\x15" + struct.pack("<f", -number)
        written += bytes([0x0A, len(piece)]) + piece
    return written


def write(folder, config):
    folder.mkdir(exist_ok=True)
    write_language_model(folder / config.weights, config)
    mimi = Mimi(config.mimi)
    mimi.init_weights(torch.Generator().manual_seed(1))
    tensors = {name: tensor.clone() for name, tensor in mimi.state_dict().items()}
    save_file(tensors, folder / config.codec)
    (folder / config.tokenizer).write_bytes(tokenizer(config.text_cardinality))
    (folder / "config.json").write_text(config.to_json())


def load(folder, config, device):
    """All tensors that stay."""
    lm = LanguageModel(config, torch.bfloat16, device)
    load_language_model(folder / config.weights, lm)
    mimi = Mimi(config.mimi)
    load_codec(folder / config.codec, mimi)
    mimi.to(device)
    return [*lm.parameters(), *lm.buffers(), *mimi.parameters(), *mimi.buffers()]


def load_packed(folder, weights, device):
    model, packed = load_for_gpu(folder, weights, device)
    matrices = [
        tensor
        for weight in packed.weights.values()
        for tensor in (weight.data, weight.scale)
        if tensor is not None
    ]
    codec = [*model.mimi.parameters(), *model.mimi.buffers()]
    return [*matrices, *packed.tensors.values(), *codec]


def measure(folder, config, device, weights):
    device, on_gpu = torch.device(device), torch.device(device).type == "cuda"
    stored = (folder / config.weights).stat().st_size
    if on_gpu:
        torch.zeros(1, device=device)  # the driver's own memory is not the loader's
        torch.cuda.reset_peak_memory_stats()
    before, began = status("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")
    if weights:
        tensors = load_packed(folder, weights, device)
    else:
        tensors = load(folder, config, device)
    seconds = time.perf_counter() - began
    resident = sum(t.numel() * t.element_size() for t in tensors)
    host = status("VmHWM") - before - (0 if on_gpu else resident)
    found = {"stored": stored, "weights": weights or "bf16, plain"}
    found |= {"resident": resident, "host_over": host}
    found |= {"seconds": round(seconds, 2), "device": str(device)}
    if on_gpu:
        found["gpu_over"] = torch.cuda.max_memory_allocated() - resident
        found["gpu"] = torch.cuda.get_device_name()
    found["fits"] = host < HOST_BOUND and found.get("gpu_over", 0) < GPU_BOUND
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SIZES, default="7b")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--to", type=Path, default=None)
    parser.add_argument("--weights", default="")
    parser.add_argument("--read", type=Path, help="a directory that was written before")
    parser.add_argument("--write", type=Path, help="only write the files, there")
    arguments = parser.parse_args()
    config = SIZES[arguments.size]
    if arguments.write:
        write(arguments.write, config)
        return
    with tempfile.TemporaryDirectory(dir=arguments.to) as made:
        folder = arguments.read or Path(made)
        # Elsewhere: what writing took and gave back would hide what loading takes.
        again = [sys.executable, "-m", "tests.inference.measure_loading"]
        words = ["--size", arguments.size, "--write", folder]
        if folder != arguments.read:
            subprocess.run([*again, *words], check=True)
        found = measure(folder, config, arguments.device, arguments.weights)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
