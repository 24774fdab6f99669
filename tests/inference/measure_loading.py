"""Write a random checkpoint of any size, load it, and say what memory that took.

    python -m tests.inference.measure_loading [--size 7b] [--device cuda] [--to DIR]

Needs neither Django nor pytest. The last line is JSON. Bounds: on the host 2 GB above
the model's own memory, on a GPU 0.5 GB.
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

from inference.checkpoints import load_codec, load_language_model
from inference.network.config import PERSONAPLEX_7B, DepthConfig, TemporalConfig
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
LM, CODEC = "lm.safetensors", "codec.safetensors"
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


def write(folder, config):
    write_language_model(folder / LM, config)
    mimi = Mimi(config.mimi)
    mimi.init_weights(torch.Generator().manual_seed(1))
    save_file({k: v.clone() for k, v in mimi.state_dict().items()}, folder / CODEC)


def measure(folder, config, device):
    device, on_gpu = torch.device(device), torch.device(device).type == "cuda"
    stored = (folder / LM).stat().st_size
    if on_gpu:
        torch.zeros(1, device=device)  # the driver's own memory is not the loader's
        torch.cuda.reset_peak_memory_stats()
    before, began = status("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")
    lm = LanguageModel(config, torch.bfloat16, device)
    load_language_model(folder / LM, lm)
    mimi = Mimi(config.mimi)
    load_codec(folder / CODEC, mimi)
    mimi.to(device)
    seconds = time.perf_counter() - began
    tensors = [*lm.parameters(), *lm.buffers(), *mimi.parameters(), *mimi.buffers()]
    resident = sum(t.numel() * t.element_size() for t in tensors)
    host = status("VmHWM") - before - (0 if on_gpu else resident)
    found = {"stored": stored, "resident": resident, "host_over": host}
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
    parser.add_argument("--write", type=Path, help="only write the files, there")
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, SIZES[arguments.size])
        return
    with tempfile.TemporaryDirectory(dir=arguments.to) as folder:
        # Elsewhere: what writing took and gave back would hide what loading takes.
        again = [sys.executable, "-m", "tests.inference.measure_loading"]
        words = ["--size", arguments.size, "--write", folder]
        subprocess.run([*again, *words], check=True)
        found = measure(Path(folder), SIZES[arguments.size], arguments.device)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
