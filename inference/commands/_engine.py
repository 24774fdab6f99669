"""From the arguments of a command line to an engine that is warm.

Chooses the device, the kind of engine and the number of slots.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import logging
from collections.abc import Callable

import psutil
import torch

from inference import cards
from inference.commands._fitting import check_format, fitting, in_time
from inference.commands._refusals import (
    NoFastEngine,
    NoSuchDevice,
    TooLarge,
    check_capability,
    plain_slots,
    starting_fast,
)
from inference.engine.engine import Engine
from inference.engine.gpu.capacity import Sizes
from inference.engine.gpu.captured import CapturedSlotBatch
from inference.loading.checkpoint import Model, load_model, model_folder, read_config
from inference.timing import FRAME_MS, FRAME_RATE

log = logging.getLogger(__name__)

BUSY_SHARE = 0.7  # of real time that ticks may take when every slot talks
MAX_AUTOMATIC_SLOTS = 8
GPU_SLOTS = 4
PLAIN = {"": None, "fp32": torch.float32, "bf16": torch.bfloat16}  # by --weights
HOPELESS_MS = 10 * FRAME_MS  # no pause of other programs explains that


def load(arguments: argparse.Namespace, dtype: torch.dtype | None = None) -> Model:
    folder = model_folder(arguments.model, arguments.models_dir)
    return load_model(folder, chosen_device(arguments.device), dtype)


def engine_loader(arguments: argparse.Namespace) -> Callable[[], Engine]:
    """What the model thread calls to get its engine."""
    options = {
        "prompt_cache_mb": arguments.prompt_cache_mb,
        "pin_prompt": arguments.pin_prompt,
    }

    def plain(dtype: torch.dtype | None) -> Engine:
        if chosen_device(arguments.device).type == "cpu" and not arguments.force:
            check_memory(sizes(arguments), dtype or torch.float32)
        model = load(arguments, dtype)
        return warm(model, arguments.slots, arguments.threads, **options)

    def captured(why: str) -> Engine:
        """For a GPU on which the fast engine could not start."""
        device, slots = chosen_device(arguments.device), arguments.slots or GPU_SLOTS
        if not arguments.force:
            most = plain_slots(sizes(arguments), device, why)
            slots = in_time(slots, most, chosen=bool(arguments.slots))
        model = load(arguments, torch.bfloat16)
        engine = Engine(model, slots, new_batch=CapturedSlotBatch, **options)
        tick_ms = measure(engine)
        engine.info = dataclasses.replace(
            engine.info,
            tick_ms_at_start=tick_ms,
            engine="captured",
            why_not_fast=why,
        )
        return engine

    def fast(weights: str) -> Engine:
        slots, chosen = arguments.slots or GPU_SLOTS, arguments
        device = chosen_device(arguments.device)
        if device.type == "cuda":
            cards.hold_to_pretended(device.index or 0)
        cache = arguments.prompt_cache_mb * 2**20
        if not arguments.weights:
            given = sizes(arguments), device, arguments.kv, slots
            try:
                weights, kv, slots = fitting(*given, cache, arguments.force)
            except TooLarge as error:
                if not cache:
                    raise
                weights, kv, slots = fitting(*given, 0)
                options["prompt_cache_mb"] = 0
                log.warning("No memory for prompts that were read before: %s", error)
            chosen = argparse.Namespace(**{**vars(arguments), "kv": kv})
        elif device.type == "cuda" and not arguments.force:
            most = check_format(sizes(arguments), device, weights, arguments.kv, cache)
            slots = in_time(slots, most, chosen=bool(arguments.slots))
        with starting_fast():
            engine = fast_engine(chosen, weights, slots, **options)
            tick_ms = measure(engine)
        engine.info = dataclasses.replace(
            engine.info, tick_ms_at_start=tick_ms, engine="fast"
        )
        return engine

    def build() -> Engine:
        engine = chosen_engine(arguments, plain, fast, captured)
        gc.collect()
        gc.freeze()  # what lives from here to the end is never looked at again
        return engine

    return build


def sizes(arguments: argparse.Namespace) -> Sizes:
    return Sizes(read_config(model_folder(arguments.model, arguments.models_dir)))


def check_memory(sizes: Sizes, dtype: torch.dtype) -> None:
    """Before minutes of loading end with the kernel's killer."""
    needed = sizes.host_memory(dtype.itemsize)
    free = psutil.virtual_memory().available
    if needed > free:
        raise TooLarge(
            f"{sizes.config.name} takes {needed / 1e9:.0f} GB of memory on a CPU, "
            f"{free / 1e9:.0f} GB are free"
        )


def chosen_engine(
    arguments: argparse.Namespace,
    plain: Callable[[torch.dtype | None], Engine],
    fast: Callable[[str], Engine],
    captured: Callable[[str], Engine],
) -> Engine:
    """By --weights: fp32 is plain everywhere; all else is fast on a GPU, where nothing
    means bf16, or captured if it can't be. The plain one launches thousands of kernels
    a tick, one by one: 89 ms at 7B on an H100."""
    weights: str = arguments.weights or ""
    on_gpu = chosen_device(arguments.device).type == "cuda"
    if weights not in PLAIN or (on_gpu and weights != "fp32"):
        try:
            return fast(weights or "bf16")
        except NoFastEngine as error:
            if weights or arguments.kv != "bf16":
                raise
            why = str(error)
        # Only here does nothing hold the other's weights any more.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("The fast engine can't start: %s. Trying the plain one", why)
        return captured(why)
    if arguments.kv != "bf16":
        raise NoFastEngine(f"--kv {arguments.kv} by the plain engine")
    return plain(PLAIN[weights])


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


def fast_engine(
    arguments: argparse.Namespace,
    weights: str,
    slots: int,
    *,
    prompt_cache_mb: int = 512,
    pin_prompt: bool = False,
) -> Engine:
    """By kernels of our own, in the number formats asked for; on a GPU only."""
    device = chosen_device(arguments.device)
    if device.type != "cuda":
        raise NoFastEngine(f"--weights {weights} on {device}")
    check_capability(device)
    from inference.engine.gpu.engine import GpuEngine
    from inference.engine.gpu.loading import load_for_gpu, pages_that_fit

    torch.cuda.set_device(device)
    try:
        from inference.kernels import fast as ops

        folder = model_folder(arguments.model, arguments.models_dir)
        model, packed = load_for_gpu(folder, weights, device)
    except (ImportError, ValueError) as error:
        raise NoFastEngine(str(error)) from error
    promised = int(getattr(arguments, "promised_seconds", 0) * FRAME_RATE) or None
    cache = prompt_cache_mb * 2**20
    return GpuEngine(
        model,
        packed,
        slots,
        ops=ops,
        kv=arguments.kv,
        pages=promised and pages_that_fit(packed, slots, arguments.kv, cache),
        promised=promised,
        prompt_cache_mb=prompt_cache_mb,
        pin_prompt=pin_prompt,
    )


def measure(engine: Engine) -> float:
    """The best of a few: other programs that start now only make it seem slower."""
    tick_ms = engine.warm_up()
    if tick_ms < HOPELESS_MS:
        tick_ms = min(tick_ms, *(engine.warm_up() for _ in range(2)))
    return tick_ms


def fitting_slots(tick_ms: float) -> int:
    fitting = int(BUSY_SHARE * FRAME_MS / tick_ms)
    return min(max(fitting, 1), MAX_AUTOMATIC_SLOTS)


def chosen_device(wanted: str) -> torch.device:
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
