"""A language model's weights, packed for the fast path, by flat names.

Decides which matrix is kept in which format. Must not open files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.kernels.weights import BLOCK, Weight, interleave, pack
from inference.network.config import ModelConfig, ffn_hidden
from inference.network.lm import LanguageModel
from inference.network.stored import stored_tensors
from inference.timing import CODEBOOKS, STREAMS

# A stored tensor by its name in a checkpoint (spec section 3), of this shape.
Fetch = Callable[[str, tuple[int, ...]], Tensor]

# Logits decide: their matrices keep 8 bits where the others have 4.
HEADS = {"bf16": "bf16", "int8": "int8", "fp8": "fp8", "int4": "int8"}


@dataclass
class PackedModel:
    """Matrices of products in ``weights``; norms and embeddings, bf16, in ``tensors``.

    Names: ``layers.I.in_proj``, ``depth.S.I.in_proj`` for layer I at depth step S.
    """

    config: ModelConfig
    format: str
    fingerprint: str = ""  # of the model that was packed
    weights: dict[str, Weight] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.tensors["text_emb"].device

    @property
    def step_bytes(self) -> int:
        """What one step reads of it, whatever the number of sessions; rows of
        embeddings left out."""
        norms = [t for name, t in self.tensors.items() if "emb" not in name]
        read = sum(t.numel() * t.element_size() for t in norms)
        return read + sum(weight.bytes for weight in self.weights.values())


def pack_model(
    config: ModelConfig, format: str, fetch: Fetch, device: torch.device
) -> PackedModel:
    """Matrix by matrix, so that no more than one is ever held unpacked."""
    model = PackedModel(config, format)
    packer = _Packer(model, fetch, device)
    packer.ends()
    for layer in range(config.temporal.layers):
        packer.temporal_layer(layer)
    packer.depth_ends()
    for layer in range(config.depth.layers):
        packer.depth_layer(layer)
    return model


class _Packer:
    def __init__(self, model: PackedModel, fetch: Fetch, device: torch.device) -> None:
        self.model, self.fetch, self.device = model, fetch, device
        self.config = model.config

    def ends(self) -> None:
        config = self.config
        dim, text = config.temporal.dim, config.text_cardinality
        shape = (config.audio_cardinality + 1, dim)
        self.model.tensors["emb"] = torch.stack(
            [self._tensor(f"emb.{i}.weight", shape) for i in range(STREAMS - 1)]
        )
        self._keep("text_emb", "text_emb.weight", (text + 1, dim))
        self._keep("out_norm", "out_norm.alpha", (1, 1, dim))
        head = self._tensor("text_linear.weight", (text, dim))
        self._pack("text_linear", head, HEADS[self.model.format])

    def temporal_layer(self, layer: int) -> None:
        dim, name = self.config.temporal.dim, f"layers.{layer}."
        stored, hidden = f"transformer.{name}", ffn_hidden(dim)
        for norm in ("norm1", "norm2"):
            self._keep(name + norm, f"{stored}{norm}.alpha", (1, 1, dim))
        in_proj = self._tensor(stored + "self_attn.in_proj_weight", (3 * dim, dim))
        self._pack(name + "in_proj", in_proj)
        out_proj = self._tensor(stored + "self_attn.out_proj.weight", (dim, dim))
        self._pack(name + "out_proj", out_proj)
        self._ffn(name, stored + "gating.", dim, hidden)

    def depth_ends(self) -> None:
        config = self.config
        dim, audio = config.depth.dim, config.audio_cardinality
        text_shape = (config.text_cardinality + 1, dim)
        self._keep("depth.text_emb", "depformer_text_emb.weight", text_shape)
        for step in range(CODEBOOKS - 1):
            shape = (audio + 1, dim)
            self._keep(f"depth.emb.{step}", f"depformer_emb.{step}.weight", shape)
        shape = (dim, config.temporal.dim)
        inputs = [
            self._tensor(f"depformer_in.{step}.weight", shape)
            for step in range(CODEBOOKS)
        ]
        self._pack("depth.inputs", torch.cat(inputs))
        for step in range(CODEBOOKS):
            head = self._tensor(f"linears.{step}.weight", (audio, dim))
            self._pack(f"depth.{step}.head", head, HEADS[self.model.format])

    def depth_layer(self, layer: int) -> None:
        depth, stored = self.config.depth, f"depformer.layers.{layer}."
        dim, hidden = depth.dim, ffn_hidden(depth.dim)
        for norm in ("norm1", "norm2"):
            self._keep(f"depth.{layer}.{norm}", f"{stored}{norm}.alpha", (1, 1, dim))
        for name, rows, tensor in (
            ("in_proj", 3 * dim, "self_attn.in_proj_weight"),
            ("out_proj", dim, "self_attn.out_proj.weight"),
        ):
            # Blocks of all stored steps below each other.
            blocks = self._tensor(stored + tensor, (depth.steps_stored * rows, dim))
            for step in range(CODEBOOKS):
                block = blocks[step * rows : (step + 1) * rows]
                self._pack(f"depth.{step}.{layer}.{name}", block)
        for step in range(CODEBOOKS):
            gating = f"{stored}gating.{step}."
            self._ffn(f"depth.{step}.{layer}.", gating, dim, hidden)

    def _ffn(self, name: str, stored: str, dim: int, hidden: int) -> None:
        linear_in = self._tensor(stored + "linear_in.weight", (2 * hidden, dim))
        linear_out = self._tensor(stored + "linear_out.weight", (dim, hidden))
        # Products read columns in blocks. What fills the last one up adds nothing:
        # silu(0) * 0.
        more = -hidden % BLOCK
        if more:
            halves = F.pad(linear_in.unflatten(0, (2, hidden)), (0, 0, 0, more))
            linear_in, linear_out = halves.flatten(0, 1), F.pad(linear_out, (0, more))
        linear_in = interleave(linear_in)
        self._pack(name + "linear_in", linear_in)
        self._pack(name + "linear_out", linear_out)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self.fetch(name, shape).to(self.device, torch.bfloat16)

    def _keep(self, name: str, stored: str, shape: tuple[int, ...]) -> None:
        tensor = self._tensor(stored, shape)
        self.model.tensors[name] = tensor.flatten() if "norm" in name else tensor

    def _pack(self, name: str, matrix: Tensor, format: str | None = None) -> None:
        self.model.weights[name] = pack(matrix, format or self.model.format)


def held_weights(lm: LanguageModel) -> Fetch:
    """Those of a model that is loaded; of stacked depth steps the resident ones."""
    held = {stored.name: stored.target for stored in stored_tensors(lm)}

    def fetch(name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = held[name]
        assert tensor is not None
        return tensor.reshape(-1, *shape[1:]) if len(shape) < 3 else tensor

    return fetch


def random_weights(device: torch.device, seed: int) -> Fetch:
    """Weights that keep the variance, drawn on the device as they are asked for."""
    generator = torch.Generator(device).manual_seed(seed)

    def fetch(name: str, shape: tuple[int, ...]) -> Tensor:
        if "norm" in name:
            return torch.ones(shape, device=device, dtype=torch.bfloat16)
        fan_in = shape[-1]
        if "emb" in name:
            fan_in = 1 if name.startswith("depformer") else STREAMS
        drawn = torch.empty(shape, device=device, dtype=torch.bfloat16)
        return drawn.normal_(0, fan_in**-0.5, generator=generator)

    return fetch
