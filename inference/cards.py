"""Graphics cards as data: what their makers publish, and the same of the one here.

Holds the table of all cards that are named anywhere, and the card that decisions are
taken for: the device's own, or one that it pretends to be (see ``pretend``). Must not
depend on models or kernels. ``torch`` is imported only where a device is asked.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

PRETEND = "PRETEND_CARD"  # the environment variable of --pretend
MIN_CAPABILITY = (8, 0)  # tensor-core products of bf16, copies past the registers
EARLY_LAUNCH = (9, 0)  # a kernel may start while the one before it still runs

# By compute capability, from the CUDA programming guide: shared memory of a block that
# asks for it, and of a multiprocessor, in bytes.
LARGE, MIDDLE, SMALL = (232_448, 233_472), (166_912, 167_936), (101_376, 102_400)
SHARED = {
    (8, 0): MIDDLE,
    (8, 6): SMALL,
    (8, 7): MIDDLE,
    (8, 9): SMALL,
    (9, 0): LARGE,
    (10, 0): LARGE,
    (10, 3): LARGE,
    (11, 0): LARGE,
    (12, 0): SMALL,
    (12, 1): SMALL,
}
CAPABILITIES = tuple(SHARED)


@dataclass(frozen=True)
class CardSpec:
    name: str
    capability: tuple[int, int]
    memory: float  # bytes
    bandwidth: float  # bytes a second, as published; 0: not known
    shared_block: int  # bytes that one block may have
    shared_sm: int  # bytes that the blocks of a multiprocessor share
    sms: int  # multiprocessors
    l2: int  # bytes
    registers: int = 65_536  # of a multiprocessor, 32 bits each
    unified: bool = False  # its memory is the host's

    @property
    def early_launch(self) -> bool:
        return self.capability >= EARLY_LAUNCH


def _card(
    name: str,
    capability: tuple[int, int],
    gb: float,
    gb_s: float,
    sms: int,
    l2_mb: float,
    unified: bool = False,
) -> CardSpec:
    block, sm = SHARED[capability]
    sizes = gb * 1e9, gb_s * 1e9, block, sm, sms, int(l2_mb * 2**20)
    return CardSpec(name, capability, *sizes, unified=unified)


# As published: compute capability, GB, GB/s, multiprocessors, MiB of L2.
CARDS = (
    _card("RTX 4060 8 GB", (8, 9), 8, 272, 24, 24),
    _card("RTX 3060 12 GB", (8, 6), 12, 360, 28, 3),
    _card("RTX 3090 24 GB", (8, 6), 24, 936, 82, 6),
    _card("RTX 4090 24 GB", (8, 9), 24, 1008, 128, 72),
    _card("RTX 5090 32 GB", (12, 0), 32, 1792, 170, 96),
    _card("L4 24 GB", (8, 9), 24, 300, 58, 48),
    _card("A10G 24 GB", (8, 6), 24, 600, 80, 6),
    _card("L40S 48 GB", (8, 9), 48, 864, 142, 96),
    _card("RTX PRO 6000 96 GB", (12, 0), 96, 1792, 188, 128),
    _card("A100 80 GB", (8, 0), 80, 2039, 108, 40),
    _card("H100 80 GB", (9, 0), 80, 3350, 132, 50),
    _card("H200 141 GB", (9, 0), 141, 4800, 132, 50),
    _card("B200 180 GB", (10, 0), 180, 8000, 148, 126),
    _card("B300 288 GB", (10, 3), 288, 8000, 148, 126),
    _card("DGX Spark 128 GB", (12, 1), 128, 273, 48, 24, unified=True),
    _card("Jetson Thor 128 GB", (11, 0), 128, 273, 20, 32, unified=True),
    _card("Jetson AGX Orin 64 GB", (8, 7), 64, 204.8, 16, 4, unified=True),
)
ALSO = {"GB10": "DGX Spark 128 GB"}


class UnknownCard(ValueError):
    """Says which are known."""

    def __init__(self, name: str) -> None:
        known = ", ".join((*(card.name for card in CARDS), *ALSO))
        super().__init__(f"no card is called {name!r}; known are {known}")


def named(name: str) -> CardSpec:
    """The card of this name, or the first whose name begins with these words."""
    wanted = ALSO.get(name.strip().upper(), name).strip().lower()
    for card in CARDS:
        if wanted and f"{card.name.lower()} ".startswith(f"{wanted} "):
            return card
    raise UnknownCard(name)


def pretend(name: str) -> CardSpec | None:
    """Take every decision from now on as for this card; "" ends that. For trying on
    one machine what another card would do: kernels are then compiled for nothing newer
    than its generation, no more of its memory is used than it has. Must come before
    the kernels are imported. UnknownCard where the table has no such name."""
    card = named(name) if name else None
    os.environ[PRETEND] = name
    this_card.cache_clear()
    return card


def pretended() -> CardSpec | None:
    name = os.environ.get(PRETEND, "")
    return named(name) if name else None


@functools.cache
def this_card(index: int = 0) -> CardSpec:
    """The card that decisions are taken for: that device's, or the pretended one."""
    return pretended() or device_card(index)


def device_card(index: int) -> CardSpec:
    """What the driver says of a device; its bandwidth is measured elsewhere."""
    import torch

    found = torch.cuda.get_device_properties(index)
    capability = (found.major, found.minor)
    block, sm = SHARED.get(capability, SMALL if found.major != 10 else LARGE)
    return CardSpec(
        name=found.name,
        capability=capability,
        memory=float(found.total_memory),
        bandwidth=0.0,
        shared_block=getattr(found, "shared_memory_per_block_optin", block),
        shared_sm=getattr(found, "shared_memory_per_multiprocessor", sm),
        sms=found.multi_processor_count,
        l2=getattr(found, "L2_cache_size", 0),
        registers=getattr(found, "regs_per_multiprocessor", 65_536),
        unified=bool(getattr(found, "is_integrated", 0)),
    )


def memory(index: int) -> tuple[int, int]:
    """Bytes of a device that are free, and all of them; of a pretended card as if
    what is in use here were in use there. Where the memory is the host's, what the host
    could give counts: the driver leaves out what only caches files."""
    import torch

    free, total = torch.cuda.mem_get_info(index)
    if card := pretended():
        least = min(int(card.memory), total)
        return max(least - (total - free), 0), least
    if _unified(index):
        import psutil

        free = min(max(free, psutil.virtual_memory().available), total)
    return free, total


def _unified(index: int) -> bool:
    import torch

    return torch.cuda.is_available() and this_card(index).unified


def hold_to_pretended(index: int) -> None:
    """Let torch take no more of the device than the pretended card has."""
    import torch

    if card := pretended():
        total = torch.cuda.mem_get_info(index)[1]
        share = min(card.memory / total, 1.0)
        torch.cuda.set_per_process_memory_fraction(share, index)
