"""From the words of a command line to an engine that is warm.

Owns the choice of device and of the number of slots.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import logging
from collections.abc import Callable

import torch

from inference.checkpoints import Model, load_model, model_folder
from inference.engine.engine import Engine
from inference.errors import PersonaplexError
from inference.timing import FRAME_MS

log = logging.getLogger(__name__)

BUSY_SHARE = 0.7  # of real time that ticks may take when every slot talks
MOST_AUTOMATIC_SLOTS = 8
GPU_SLOTS = 4
HOPELESS_MS = 10 * FRAME_MS  # no pause of other programs explains that


class NoSuchDevice(PersonaplexError):
    code = "no_such_device"
    text = "Choose another --device."


class NoFastEngine(PersonaplexError):
    code = "no_fast_engine"
    text = (
        "--weights needs a CUDA GPU, torch's CUDA build with triton and cuda-bindings, "
        "and a model of sizes in multiples of 64. Leave it out for the plain engine."
    )


def load(arguments: argparse.Namespace, dtype: torch.dtype | None = None) -> Model:
    folder = model_folder(arguments.model, arguments.models_dir)
    return load_model(folder, _device(arguments.device), dtype)


def engine_loader(arguments: argparse.Namespace) -> Callable[[], Engine]:
    """What the model thread calls to get its engine."""

    def build() -> Engine:
        if getattr(arguments, "weights", ""):
            engine = fast_engine(arguments)
        else:
            engine = warm(
                load(arguments),
                arguments.slots,
                arguments.threads,
                prompt_cache_mb=arguments.prompt_cache_mb,
                pin_prompt=arguments.pin_prompt,
            )
        gc.collect()
        gc.freeze()  # what lives from here to the end is never looked at again
        return engine

    return build


def warm(
    model: Model, slots: int, threads: int, *, prompt_cache_mb: int, pin_prompt: bool
) -> Engine:
    """With ``slots`` 0 as many as fit: a CPU serves sessions one after the other, so
    the measured tick of one says how many keep real time."""

    def build(slots: int) -> Engine:
        return Engine(
            model,
            slots,
            threads,
            prompt_cache_mb=prompt_cache_mb,
            pin_prompt=pin_prompt,
        )

    measured = slots == 0 and model.device.type == "cpu"
    engine = build(1 if measured else slots or GPU_SLOTS)
    tick_ms = measure(engine)
    if measured and (fitting := fitting_slots(tick_ms)) > 1:
        log.info("One session takes %.1f ms a tick: %d slots", tick_ms, fitting)
        engine = build(fitting)
        engine.warm_up()
    engine.info = dataclasses.replace(engine.info, tick_ms_at_start=tick_ms)
    return engine


def fast_engine(arguments: argparse.Namespace) -> Engine:
    """By kernels of our own, in the number formats asked for; on a GPU only."""
    device = _device(arguments.device)
    if device.type != "cuda":
        raise NoFastEngine(f"--weights {arguments.weights} on {device}")
    from inference.engine.gpu import GpuEngine
    from inference.engine.gpu_load import load_for_gpu

    torch.cuda.set_device(device)
    try:
        from inference.kernels import fast as ops

        folder = model_folder(arguments.model, arguments.models_dir)
        model, packed = load_for_gpu(folder, arguments.weights, device)
    except (ImportError, ValueError) as error:
        raise NoFastEngine(str(error)) from error
    engine = GpuEngine(
        model,
        packed,
        arguments.slots or GPU_SLOTS,
        ops=ops,
        kv=arguments.kv,
        prompt_cache_mb=arguments.prompt_cache_mb,
        pin_prompt=arguments.pin_prompt,
    )
    tick_ms = measure(engine)
    engine.info = dataclasses.replace(engine.info, tick_ms_at_start=tick_ms)
    return engine


def measure(engine: Engine) -> float:
    """The best of a few: other programs that start now only make it seem slower."""
    tick_ms = engine.warm_up()
    if tick_ms < HOPELESS_MS:
        tick_ms = min(tick_ms, *(engine.warm_up() for _ in range(2)))
    return tick_ms


def fitting_slots(tick_ms: float) -> int:
    fitting = int(BUSY_SHARE * FRAME_MS / tick_ms)
    return min(max(fitting, 1), MOST_AUTOMATIC_SLOTS)


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise NoSuchDevice(f"{wanted} is no device") from error
    if device.type not in ("cpu", "cuda"):
        raise NoSuchDevice(f"{wanted}: only cpu and cuda are known")
    if device.type == "cuda":
        index = device.index or 0
        if index >= torch.cuda.device_count():
            raise NoSuchDevice(f"{wanted}: torch sees {torch.cuda.device_count()} GPUs")
        return torch.device("cuda", index)
    return device
