"""What a number format costs: the same talks, read with other weights or caches.

Every matrix is packed as the fast path packs it and unpacked again, and keys and
values are rounded as its ring rounds them; the arithmetic stays fp32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.kernels.packed import HEADS
from inference.kernels.ring import quantise
from inference.kernels.weights import BLOCK, pack, unpack
from inference.network.config import AGENT, TEXT
from inference.network.lm import LanguageModel
from inference.training.lm.forward import Forward

LAYER = ("in_proj", "out_proj", "linear_in", "linear_out")


def rounded(matrix: Tensor, format: str) -> Tensor:
    """[..., columns] as ``format`` keeps it, fp32."""
    flat = matrix.detach().reshape(-1, matrix.shape[-1])
    extra = -flat.shape[1] % BLOCK
    packed = pack(F.pad(flat, (0, extra)), format)
    return unpack(packed)[: flat.shape[0], : flat.shape[1]].reshape(matrix.shape)


@torch.no_grad()
def with_weights(model: LanguageModel, format: str) -> LanguageModel:
    """A copy; "fp32" is the model itself."""
    if format == "fp32":
        return model
    other = copy.deepcopy(model)
    for layer in [*other.temporal.layers, *other.depth.layers]:
        for name in LAYER:
            matrix = getattr(layer, name)
            matrix.copy_(rounded(matrix, format))
    for matrix in (other.text_linear, other.depth.heads):
        matrix.copy_(rounded(matrix, HEADS[format]))
    other.depth.inputs.copy_(rounded(other.depth.inputs, format))
    return other


def round_cache(model: LanguageModel, format: str) -> None:
    """Keys and values of the temporal layers, as the streaming step writes them."""
    for layer in model.temporal.layers:
        layer.project = _rounding(layer.project, format)  # type: ignore[method-assign]


def _rounding(
    project: Callable[..., tuple[Tensor, Tensor]], format: str
) -> Callable[..., tuple[Tensor, Tensor]]:
    def rounding(x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        q, kv = project(x, cos, sin)
        data, scale = quantise(kv, format)
        wide = data.float() if scale is None else data.float() * scale[..., None]
        return q, wide.to(kv.dtype)

    return rounding


@torch.inference_mode()
def read(model: LanguageModel, prompt: Tensor, rows: Tensor) -> dict[str, Tensor]:
    """Log-probabilities [F, tokens] of the text, and [8, F, tokens] of the codes, of
    each row of a talk [F, 17] after ``prompt`` [P, dim] and the rows before it."""
    fed = torch.cat((prompt, model.embed(rows[:-1])))
    hidden = model.temporal(fed[None].to(model.dtype))[0, -len(rows) :]
    text = F.linear(hidden, model.text_linear).float().log_softmax(-1)
    depth = Forward(model, compiled=False).depth
    codes = depth(hidden, rows[:, TEXT], rows[:, AGENT]).float().log_softmax(-1)
    return {"text": text, "codes": codes}


def compare(
    plain: dict[str, Tensor], other: dict[str, Tensor], rows: Tensor
) -> dict[str, float]:
    """How often the likeliest token is the same, and the loss of the talk as it was
    (nats per token)."""
    text, codes = rows[:, TEXT, None], rows[:, AGENT].t()[..., None]
    same = {k: (other[k].argmax(-1) == plain[k].argmax(-1)).float() for k in other}
    loss_text = -other["text"].gather(1, text).mean()
    loss_codes = -other["codes"].gather(2, codes).mean()
    return {
        "same text token": float(same["text"].mean()),
        "same semantic code": float(same["codes"][0].mean()),
        "same code": float(same["codes"].mean()),
        "loss, text": float(loss_text),
        "loss, codes": float(loss_codes),
    }
