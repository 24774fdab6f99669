"""Which GPUs this machine has, found without importing torch into this process:
by CUDA_VISIBLE_DEVICES, else by NVML, else by a child process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import dataclass

import pynvml

log = logging.getLogger(__name__)

TORCH_SECONDS = 120  # to import it, on a busy machine, and start CUDA
COUNT = "import torch; print(torch.cuda.device_count())"


@dataclass(frozen=True)
class Gpu:
    """``visible``: what CUDA_VISIBLE_DEVICES must be for a process to see it alone."""

    number: int  # among those that we may use, from 0
    visible: str
    name: str = "a GPU"


def usable_gpus(*, ask_torch: bool) -> list[Gpu]:
    """Those of CUDA_VISIBLE_DEVICES where it is set, else all that NVML knows. Without
    NVML (as on a Jetson) a child process with torch counts them if ``ask_torch``."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return _allowed(allowed)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.debug("No NVML: %s", error)
        return _counted_by_torch() if ask_torch else []
    try:
        return [_known(number) for number in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _allowed(value: str) -> list[Gpu]:
    """CUDA stops reading at the first entry that is no device, usually -1."""
    found: list[Gpu] = []
    for word in value.split(","):
        if not word.strip() or word.strip().startswith("-"):
            break
        found.append(Gpu(len(found), word.strip()))
    return found


def _known(number: int) -> Gpu:
    """By its UUID: NVML counts along the PCI bus, CUDA the fastest first."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    return Gpu(number, str(uuid), str(name))


def _counted_by_torch() -> list[Gpu]:
    counted = subprocess.run(
        [sys.executable, "-c", COUNT],
        capture_output=True,
        text=True,
        timeout=TORCH_SECONDS,
        check=False,
    )
    count = int(counted.stdout) if counted.returncode == 0 else 0
    return [Gpu(number, str(number)) for number in range(count)]
