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
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

_CUDA = torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1"
PDL = _CUDA and torch.cuda.get_device_capability() >= (9, 0)
LAUNCH: dict[str, Any] = {"launch_pdl": True} if PDL else {}


@triton.jit
def begin(PDL: tl.constexpr):
    if PDL:
        gdc_launch_dependents()
        gdc_wait()
