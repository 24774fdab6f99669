"""Which number formats and how many conversations a GPU is given, before it is loaded.

Asks the card for its memory and speed; loads nothing.
"""

from __future__ import annotations

import dataclasses
import logging

import torch

from inference.commands._refusals import TooLarge, TooSlow
from inference.engine.gpu.capacity import (
    PREFERRED,
    SAFE_MS,
    Card,
    Fit,
    Sizes,
    choose,
    fit,
    missing_mb,
)

log = logging.getLogger(__name__)


def fitting(
    sizes: Sizes,
    device: torch.device,
    kv: str,
    slots: int,
    cache: int = 0,
    force: bool = False,
) -> tuple[str, str, int]:
    """Weights, KV and slots for this GPU: the most exact that keeps real time; with
    ``force`` the smallest if none does. ``cache``: bytes of its memory that are spoken
    for."""
    card = _free_card(device, cache)
    found = choose(sizes, card, kv, slots)
    free = f"{card.name} has {card.memory / 1e9:.1f} GB free"
    if found is None:
        found = fit(sizes, card, *PREFERRED[-1])
        if not force:
            raise TooLarge(_needs(sizes, card, found))
        log.warning("Forced: %s", _needs(sizes, card, found))
    slots = min(slots, max(found.full_window, 1))
    log.info(
        "%s: %s weights, %s KV, %d slots, %.1f GB with one conversation",
        *(free, found.weights, found.kv, slots, found.memory_gb),
    )
    return found.weights, found.kv, slots


def check_format(
    sizes: Sizes, device: torch.device, weights: str, kv: str, cache: int = 0
) -> int:
    """Before minutes of loading: how many conversations with full windows keep real
    time in a format that was asked for. TooSlow where not one does, by time or memory:
    the first ticks, with an empty window, would not tell."""
    card = _free_card(device, cache)
    found = fit(sizes, card, weights, kv)
    if not (found.real_time and found.full_window):
        raise TooSlow(_needs(sizes, card, found))
    return found.full_window


def in_time(slots: int, most: int, *, chosen: bool) -> int:
    """Slots that were ``chosen`` stay, with a warning: windows may be short."""
    if slots > most and chosen:
        log.warning(
            "%d slots: only %d conversations keep real time once their windows are "
            "full. Lower --slots, or choose smaller --weights and --kv.",
            *(slots, most),
        )
    return slots if chosen else min(slots, most)


def _free_card(device: torch.device, cache: int) -> Card:
    from inference.engine.gpu.measure import measured_card

    card = measured_card(device)
    return dataclasses.replace(card, memory=card.memory - cache)


def _needs(sizes: Sizes, card: Card, found: Fit) -> str:
    missing = missing_mb(card, found)
    short = f", {missing} MB are missing" if missing else ""
    return (
        f"{sizes.config.name} takes {found.memory_gb:.1f} GB and {found.frame_ms:.0f} "
        f"ms a frame with {found.weights} weights and {found.kv} KV; {card.name} has "
        f"{card.memory / 1e9:.1f} GB free{short}, and real time needs less "
        f"than {SAFE_MS:.0f} ms"
    )
