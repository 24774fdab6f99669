"""The plain engine's step at 7B shapes on a GPU: launched one by one, and captured.

    python3 -m tests.inference.measure_captured

Random weights in bf16; 20 steps of 1 and of 4 conversations, milliseconds by the wall
clock and gigabytes of the whole device. The plain step reads whole rings, so how long
a conversation is makes no difference.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch

from inference.engine.gpu.captured import CapturedSlotBatch
from inference.engine.torch_batch import TorchSlotBatch
from inference.loading.checkpoint import Model
from inference.network.config import PERSONAPLEX_7B
from inference.network.mimi import Mimi, fp32_convolutions
from inference.timing import FRAME_SAMPLES
from tests.inference.parity.side_by_side import plain_lm, weights_by_name

STEPS = 20


def main() -> int:
    device = torch.device("cuda:0")
    fp32_convolutions()
    config = PERSONAPLEX_7B
    with torch.inference_mode():
        lm = plain_lm(config, weights_by_name(device), device)
    mimi = Mimi(config.mimi)
    mimi.init_weights(torch.Generator().manual_seed(1))
    mimi.to(device).eval().requires_grad_(False)
    model = Model(config, lm, mimi, None, None, "random", False)
    with torch.inference_mode():
        for kind in (TorchSlotBatch, CapturedSlotBatch):
            for slots in (1, 4):
                ms, gigabytes = measured(kind, model, slots, device)
                sys.stdout.write(
                    f"{kind.__name__:17s} {slots} conversations {ms:7.2f} ms "
                    f"{gigabytes:6.2f} GB\n"
                )
                sys.stdout.flush()
    return 0


def measured(kind, model, slots, device):
    torch.cuda.empty_cache()
    batch = kind(model, slots)
    generator = torch.Generator().manual_seed(slots)
    sound = torch.randn(slots, FRAME_SAMPLES, generator=generator).mul(2000).short()
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        active = torch.ones(slots, dtype=torch.bool)
        output = batch.compute(sound.to(device), active.to(device), 3000)
        for tensor in output:
            tensor.cpu()
        times.append(1000 * (time.perf_counter() - began))
    free, total = torch.cuda.mem_get_info(device)
    return median(times[STEPS // 4 :]), (total - free) / 1e9


if __name__ == "__main__":
    raise SystemExit(main())
