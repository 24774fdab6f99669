"""The fast path's functions, under the names that ``plain`` gives its own."""

from inference.kernels.attention import attend, write_kv
from inference.kernels.codec import FrameCodec, fits
from inference.kernels.depth_attention import attend_frame
from inference.kernels.fused import add_norm, advance, complete, embed
from inference.kernels.plain import PlainCodec
from inference.kernels.prefill_attention import attend_chunk, write_chunk
from inference.kernels.sample import choose
from inference.kernels.skinny import gated, linear, project
from inference.network.mimi import Mimi


def codec(mimi: Mimi) -> FrameCodec | PlainCodec:
    return FrameCodec(mimi) if fits(mimi.config) else PlainCodec(mimi)


CAPTURED = True  # a step can be: nothing waits for the device

__all__ = [
    "CAPTURED",
    "add_norm",
    "advance",
    "attend",
    "attend_chunk",
    "attend_frame",
    "choose",
    "codec",
    "complete",
    "embed",
    "gated",
    "linear",
    "project",
    "write_chunk",
    "write_kv",
]
