"""Published checkpoints that hold our tensors under other names or cut otherwise.

We load one such layout: Kyutai's code later cut the projections of attention into one
tensor per depth step. Must not open files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from inference.network.stored import StoredTensor
from inference.timing import STREAMS

# Our name's end and what stands in its place, with the number of the depth step.
CUT = {
    ".self_attn.in_proj_weight": ".self_attn.in_projs.{}.weight",
    ".self_attn.out_proj.weight": ".self_attn.out_projs.{}.weight",
}


def as_stored(
    tensors: Iterable[StoredTensor], names: Collection[str]
) -> Iterator[StoredTensor]:
    """What to look for in a file of these tensor names."""
    for tensor in tensors:
        cut = _cut_name(tensor.name)
        if cut is None or tensor.name in names or cut.format(0) not in names:
            yield tensor
        elif tensor.name.startswith("depformer."):
            yield from _pieces(tensor, cut)
        else:
            yield StoredTensor.whole(cut.format(0), tensor.shape, tensor.target)


def pieces_of(name: str, names: Collection[str]) -> list[str]:
    """Whose tensors, below each other, are the one we call ``name``, in a file of these
    names. Of depth steps cut apart, the first few may be all that is wanted."""
    cut = _cut_name(name)
    if cut is None or name in names:
        return [name]
    return [
        piece for step in range(STREAMS) if (piece := cut.format(step)) in names
    ] or [name]


def _cut_name(name: str) -> str | None:
    for end, other in CUT.items():
        if name.endswith(end):
            return name.removesuffix(end) + other
    return None


def _pieces(tensor: StoredTensor, cut: str) -> Iterator[StoredTensor]:
    """One tensor per step; the target [8, rows, dim] has the steps that are run."""
    assert tensor.target is not None
    rows = tensor.target.shape[1]
    for step in range(tensor.shape[0] // rows):
        resident = tensor.target[step] if step < tensor.target.shape[0] else None
        yield StoredTensor.whole(cut.format(step), (rows, *tensor.shape[1:]), resident)
