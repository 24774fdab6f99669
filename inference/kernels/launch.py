"""How kernels follow each other: a kernel is launched while the one before it still
runs, and waits for that one's results where it first needs them (sm_90 and later).

Every kernel calls ``begin`` before it touches what others wrote or read, so any chain
of them is safe.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import triton
import triton.language as tl
from triton.compiler import compiler
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from inference.cards import pretended, this_card

_CUDA = torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1"
PDL = _CUDA and this_card(torch.cuda.current_device()).early_launch
LAUNCH: dict[str, Any] = {"launch_pdl": True} if PDL else {}
if _CUDA and (card := pretended()):
    # Layouts and instructions of the pretended card's generation, assembled for the
    # device; and no more shared memory than that card has for a block.
    if not card.early_launch:
        os.environ["TRITON_OVERRIDE_ARCH"] = "sm80"
    compiler.max_shared_mem = lambda device: card.shared_block


@triton.jit
def begin(PDL: tl.constexpr):
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
