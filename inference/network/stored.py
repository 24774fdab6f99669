"""Names and shapes of the language model's tensors in a checkpoint (spec section 3).

Maps stored names to places in our parameters. Must not open files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from inference.network.config import ModelConfig, ffn_hidden
from inference.network.depth import DepthLayer
from inference.network.lm import LanguageModel
from inference.network.temporal import TemporalLayer
from inference.timing import CODEBOOKS, STREAMS


@dataclass(frozen=True)
class StoredTensor:
    """``target``: where its first ``resident_rows`` rows go; same order of values,
    perhaps another shape. None: it belongs to depth steps that are never run."""

    name: str
    shape: tuple[int, ...]
    target: Tensor | None
    resident_rows: int

    @classmethod
    def whole(
        cls, name: str, shape: tuple[int, ...], target: Tensor | None
    ) -> StoredTensor:
        return cls(name, shape, target, shape[0])


def stored_tensors(lm: LanguageModel) -> Iterator[StoredTensor]:
    config = lm.config
    dim, audio = config.temporal.dim, config.audio_cardinality
    whole = StoredTensor.whole
    for i in range(STREAMS - 1):
        yield whole(f"emb.{i}.weight", (audio + 1, dim), lm.emb[i])
    text = config.text_cardinality
    yield whole("text_emb.weight", (text + 1, dim), lm.text_emb)
    yield whole("text_linear.weight", (text, dim), lm.text_linear)
    for i, layer in enumerate(lm.temporal.layers):
        yield from _temporal_layer(f"transformer.layers.{i}.", layer, dim)
    yield whole("out_norm.alpha", (1, 1, dim), lm.temporal.out_norm)
    yield from _depth_ends(lm)
    for i, depth_layer in enumerate(lm.depth.layers):
        yield from _depth_layer(f"depformer.layers.{i}.", depth_layer, config)


def _temporal_layer(
    prefix: str, layer: TemporalLayer, dim: int
) -> Iterator[StoredTensor]:
    hidden = ffn_hidden(dim)
    for name, shape, target in (
        ("self_attn.in_proj_weight", (3 * dim, dim), layer.in_proj),
        ("self_attn.out_proj.weight", (dim, dim), layer.out_proj),
        ("norm1.alpha", (1, 1, dim), layer.norm1),
        ("norm2.alpha", (1, 1, dim), layer.norm2),
        ("gating.linear_in.weight", (2 * hidden, dim), layer.linear_in),
        ("gating.linear_out.weight", (dim, hidden), layer.linear_out),
    ):
        yield StoredTensor.whole(prefix + name, shape, target)


def _depth_ends(lm: LanguageModel) -> Iterator[StoredTensor]:
    config, depth = lm.config, lm.depth
    dim, audio = config.depth.dim, config.audio_cardinality
    text_shape = (config.text_cardinality + 1, dim)
    whole = StoredTensor.whole
    yield whole("depformer_text_emb.weight", text_shape, depth.text_emb)
    for step in range(config.depth.steps_stored):
        shape = (dim, config.temporal.dim)
        yield whole(f"depformer_in.{step}.weight", shape, _at(depth.inputs, step))
        yield whole(f"linears.{step}.weight", (audio, dim), _at(depth.heads, step))
    for step in range(config.depth.steps_stored - 1):
        shape = (audio + 1, dim)
        yield whole(f"depformer_emb.{step}.weight", shape, _at(depth.emb, step))


def _depth_layer(
    prefix: str, layer: DepthLayer, config: ModelConfig
) -> Iterator[StoredTensor]:
    dim, steps = config.depth.dim, config.depth.steps_stored
    hidden = ffn_hidden(dim)
    for name, rows, target in (
        ("self_attn.in_proj_weight", 3 * dim, layer.in_proj),
        ("self_attn.out_proj.weight", dim, layer.out_proj),
    ):
        # Blocks of all steps below each other; the first 8 are run.
        shape = (steps * rows, dim)
        yield StoredTensor(prefix + name, shape, target, CODEBOOKS * rows)
    for name, alpha in (("norm1.alpha", layer.norm1), ("norm2.alpha", layer.norm2)):
        yield StoredTensor.whole(prefix + name, (1, 1, dim), alpha)
    for step in range(steps):
        gating = f"{prefix}gating.{step}."
        for name, shape, stack in (
            ("linear_in.weight", (2 * hidden, dim), layer.linear_in),
            ("linear_out.weight", (dim, hidden), layer.linear_out),
        ):
            yield StoredTensor.whole(gating + name, shape, _at(stack, step))


def _at(stack: Tensor, step: int) -> Tensor | None:
    return stack[step] if step < stack.shape[0] else None
