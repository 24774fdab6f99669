"""The fast path's functions, under the names that ``plain`` gives its own."""

from inference.kernels.attention import attend, write_kv
from inference.kernels.choose import choose
from inference.kernels.frame import attend_frame
from inference.kernels.rows import add_norm, advance, complete, embed
from inference.kernels.skinny import gated, linear

__all__ = [
    "add_norm",
    "advance",
    "attend",
    "attend_frame",
    "choose",
    "complete",
    "embed",
    "gated",
    "linear",
    "write_kv",
]
