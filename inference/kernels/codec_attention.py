"""The codec's attention over its ring, one frame at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.kernels.nvrtc import FLOAT, INT, POINTER, kernel
from inference.kernels.shapes import codec_attention_program

MAX_SLOTS = 256  # of a ring: a thread for each
_TYPES = (POINTER,) * 7 + (INT,) * 3 + (FLOAT,)


def attend(
    qkv: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Tensor,
    active: Tensor,
    frequencies: Tensor,
) -> Tensor:
    """Products with in_proj [B, 2, 3 * dim] of the positions ``position`` [B] and the
    next to what they see, [B, 2, dim]; their keys and values enter the rings [B, H,
    context, D]. ``frequencies`` [D / 2] of the rotation. Rows that are not active are
    left alone, in the result too."""
    batch, heads, context, size = keys.shape
    if context > MAX_SLOTS:
        raise ValueError(f"a ring of {context} slots; the kernel holds {MAX_SLOTS}")
    out = qkv.new_empty(batch, 2, heads * size)
    device = torch.cuda.current_device()
    run = kernel(codec_attention_program(size), device)
    tensors = (qkv, keys, values, position, active, frequencies, out)
    pointers = tuple(tensor.data_ptr() for tensor in tensors)
    numbers = (heads, context, keys.stride(0), size**-0.5)
    run.launch((heads, batch), MAX_SLOTS, (*pointers, *numbers), _TYPES)
    return out
