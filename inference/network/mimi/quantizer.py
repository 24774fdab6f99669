"""Vectors to codes and back: one semantic codebook beside a residual chain.

From vectors [B, dim, F] to codes [B, K, F]. Must not depend on how codebooks are
trained.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.mimi.config import MimiConfig


class Codebook(nn.Module):
    """Stored as running sums, so that training can continue; used as their quotient.

    Outside training the quotient is kept in ``vectors`` and computed again when a state
    dict is loaded. Code that writes the sums otherwise calls ``refresh``.
    """

    embedding_sum: Tensor
    cluster_usage: Tensor
    _initialized: Tensor
    vectors: Tensor
    lookup: Tensor

    def __init__(self, bins: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embedding_sum", torch.zeros(bins, dim))
        self.register_buffer("cluster_usage", torch.ones(bins))
        self.register_buffer("_initialized", torch.ones(1))
        self.register_buffer("vectors", torch.zeros(bins, dim), persistent=False)
        self.register_buffer("lookup", torch.zeros(bins, dim + 2), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.refresh())

    @torch.no_grad()
    def refresh(self) -> None:
        self.vectors, self.lookup = self._made()

    @torch.no_grad()
    def refresh_in_place(self) -> None:
        """The same, for those who keep the addresses of both (CUDA graphs)."""
        vectors, lookup = self._made()
        self.vectors.copy_(vectors)
        self.lookup.copy_(lookup)

    def _made(self) -> tuple[Tensor, Tensor]:
        usage = self.cluster_usage.clamp(min=1e-5)[:, None]
        vectors = self.embedding_sum / usage
        ones = torch.ones_like(usage)
        squares = vectors.pow(2).sum(dim=-1, keepdim=True)
        return vectors, torch.cat([vectors, ones, squares], dim=-1)

    def encode(self, x: Tensor) -> Tensor:
        """[N, dim] to the index of the nearest vector, [N]; ties take the lowest.

        The distance is |x|² + |c|² - 2xc, out of one product and through a square
        root: other forms round differently and choose differently in near ties.
        """
        squares = x.pow(2).sum(dim=-1, keepdim=True)
        left = torch.cat([-2 * x, squares, torch.ones_like(squares)], dim=-1)
        distances = torch.mm(left, self.lookup.t()).clamp_min_(0).sqrt_()
        return distances.argmin(dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.vectors)


class VectorQuantizer(nn.Module):
    def __init__(self, bins: int, dim: int) -> None:
        super().__init__()
        self._codebook = Codebook(bins, dim)

    @property
    def codebook(self) -> Codebook:
        return self._codebook


class Chain(nn.Module):
    def __init__(self, layers: list[VectorQuantizer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class ResidualQuantizer(nn.Module):
    """A chain of codebooks, each for what the ones before it left over."""

    def __init__(self, config: MimiConfig, stored: int, used: int) -> None:
        super().__init__()
        dim, inner = config.dim, config.codebook_dim
        self.input_proj = nn.Conv1d(dim, inner, 1, bias=False)
        self.output_proj = nn.Conv1d(inner, dim, 1, bias=False)
        layers = [VectorQuantizer(config.bins, inner) for _ in range(stored)]
        self.vq = Chain(layers)
        self.used = used

    @property
    def codebooks(self) -> list[Codebook]:
        """The ones in use, in the order of the chain."""
        layers = cast("list[VectorQuantizer]", list(self.vq.layers))
        return [layer.codebook for layer in layers[: self.used]]

    def encode(self, x: Tensor) -> Tensor:
        projected = self.input_proj(x).transpose(1, 2)
        batch, frames, inner = projected.shape
        residual = projected.reshape(batch * frames, inner)
        codes = []
        for i, codebook in enumerate(self.codebooks):
            codes.append(codebook.encode(residual))
            if i + 1 < self.used:
                residual = residual - codebook.decode(codes[-1])
        return torch.stack(codes).view(self.used, batch, frames).transpose(0, 1)

    def decode(self, codes: Tensor) -> Tensor:
        first, *rest = self.codebooks
        total = first.decode(codes[:, 0])
        for i, codebook in enumerate(rest, start=1):
            total = total + codebook.decode(codes[:, i])
        return self.output_proj(total.transpose(1, 2))


class Quantizer(nn.Module):
    """Both chains start from the same vector; what they decode to is added."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.rvq_first = ResidualQuantizer(config, 1, 1)
        self.rvq_rest = ResidualQuantizer(
            config, config.n_codebooks - 1, config.n_codebooks_used - 1
        )

    def encode(self, latent: Tensor) -> Tensor:
        """[B, dim, F] to codes [B, used, F]."""
        parts = [self.rvq_first.encode(latent), self.rvq_rest.encode(latent)]
        return torch.cat(parts, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, used, F] to [B, dim, F]."""
        return self.rvq_first.decode(codes[:, :1]) + self.rvq_rest.decode(codes[:, 1:])
