"""Errors of choosing an engine, and the checks that raise them before it is loaded."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch

from inference import cards
from inference.engine.gpu.capacity import RESERVE_GB, Sizes
from inference.errors import PersonaplexError

log = logging.getLogger(__name__)

MAX_REASON = 240  # characters of why an engine did not start


class NoSuchDevice(PersonaplexError):
    code = "no_such_device"
    text = "Choose another --device."


class NoFastEngine(PersonaplexError):
    code = "no_fast_engine"
    text = (
        "Weights in int8, fp8 and int4, and --kv int8, need a CUDA GPU of 2020 on, "
        "torch's CUDA build with triton and cuda-bindings, and a model of sizes in "
        "multiples of 64. Leave out --weights and --kv, or give --weights fp32."
    )


class EngineRefused(NoFastEngine):
    """It was tried, and the card, the driver or a compiler did not take it."""

    text = (
        "The fast engine can't start on this GPU. Update the driver, or torch with its "
        "triton and cuda-bindings; --weights fp32 asks for the plain engine."
    )


class TooSlow(PersonaplexError):
    code = "format_too_slow"
    text = (
        "Leave out --weights and --kv to have a format chosen that keeps real time, "
        "use a faster GPU or a smaller --model, or give --force."
    )


class TooLarge(PersonaplexError):
    code = "model_too_large"
    text = "Use a GPU or a machine with more memory, or a smaller --model."


def check_capability(device: torch.device) -> None:
    """Before anything is measured or loaded."""
    card = cards.this_card(device.index or 0)
    if card.capability < cards.MIN_CAPABILITY:
        has, needs = (
            "{}.{}".format(*each) for each in (card.capability, cards.MIN_CAPABILITY)
        )
        raise NoFastEngine(
            f"{card.name} has compute capability {has}, the kernels need {needs}"
        )


@contextlib.contextmanager
def starting_fast() -> Iterator[None]:
    """What a card, a driver or a compiler refuses becomes EngineRefused; a device that
    broke down meanwhile, or has too little memory, stays what it is."""
    try:
        yield
    except (PersonaplexError, torch.AcceleratorError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        log.info("The fast engine could not start", exc_info=True)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EngineRefused(reason[:MAX_REASON]) from error


def plain_slots(sizes: Sizes, device: torch.device, why: str) -> int:
    """Before minutes of loading: for how many conversations with full windows the
    plain engine has memory, which holds everything in bf16. TooLarge for none."""
    free = cards.memory(device.index or 0)[0]
    shared = sizes.weights("bf16") + sizes.embeddings + sizes.codec + RESERVE_GB * 1e9
    context = sizes.config.temporal.context
    each = context * sizes.kv("bf16") + sizes.codec_state
    if shared + each > free:
        raise TooLarge(
            f"the fast engine can't start: {why}. The plain one takes "
            f"{(shared + each) / 1e9:.1f} GB for {sizes.config.name}, "
            f"{free / 1e9:.1f} GB are free"
        )
    return int((free - shared) // each)
