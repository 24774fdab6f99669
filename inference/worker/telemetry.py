"""Reads the hardware: the accelerator through NVML, CPU and RAM through psutil.

Blocks: NVML calls take milliseconds, at times more. Call it on a thread of its own,
never on the event loop or the model thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import psutil
import pynvml

from inference.worker.heartbeat import Hardware

log = logging.getLogger(__name__)

MB = 1024 * 1024


class Telemetry:
    """``device`` as torch names it: "cpu", "cuda:0"."""

    def __init__(self, device: str) -> None:
        self._process = psutil.Process()
        self._gpu = _handle(device)
        psutil.cpu_percent()  # the first call only sets the mark

    def sample(self) -> Hardware:
        ram = psutil.virtual_memory()
        return Hardware(
            cpu_percent=psutil.cpu_percent(),
            ram_used_mb=round(ram.used / MB, 1),
            ram_total_mb=round(ram.total / MB, 1),
            process_ram_mb=round(self._process.memory_info().rss / MB, 1),
            **self._accelerator(),
        )

    def _accelerator(self) -> dict[str, Any]:
        gpu = self._gpu
        if gpu is None:
            return {}
        name = _read(lambda: pynvml.nvmlDeviceGetName(gpu))
        memory = _read(lambda: pynvml.nvmlDeviceGetMemoryInfo(gpu))
        rates = _read(lambda: pynvml.nvmlDeviceGetUtilizationRates(gpu))
        sensor = pynvml.NVML_TEMPERATURE_GPU
        power = _read(lambda: pynvml.nvmlDeviceGetPowerUsage(gpu))
        return {
            "accelerator": str(name or "NVIDIA GPU")[:120],
            "memory_used_mb": memory and round(memory.used / MB, 1),
            "memory_total_mb": memory and round(memory.total / MB, 1),
            "utilisation_percent": rates and float(rates.gpu),
            "temperature_c": _read(
                lambda: pynvml.nvmlDeviceGetTemperature(gpu, sensor)
            ),
            "power_w": power and power / 1000,
        }


def _handle(device: str) -> object | None:
    """NVML's handle of the device torch means, found by UUID: NVML does not follow
    CUDA_VISIBLE_DEVICES, torch does."""
    if not device.startswith("cuda"):
        return None
    try:
        import torch

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
    except (pynvml.NVMLError, RuntimeError, AttributeError) as error:
        log.warning("No telemetry of the accelerator: %s", error)
        return None


def _read(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except pynvml.NVMLError:  # not every board has every sensor
        return None
