"""How codebooks learn: running means of what they are chosen for (spec 11.5).

Trains the buffers of :class:`inference.network.mimi.quantizer.Quantizer` in place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.network.mimi.quantizer import Codebook, Quantizer, ResidualQuantizer

DECAY = 0.99
DEAD = 0.1  # of an equal share of the choices: below it a vector is drawn again


@dataclass
class Quantised:
    latent: Tensor  # [B, dim, F], with gradients straight through
    semantic: Tensor  # [B, inner, F], what the first codebook alone gives
    commitment: Tensor
    stats: list[tuple[Codebook, Tensor, Tensor]]  # codebook, inputs, codes


def quantise(quantizer: Quantizer, latent: Tensor, free: Tensor | None) -> Quantised:
    """``free`` bool [B]: sounds that go around the codebooks this time."""
    stats: list[tuple[Codebook, Tensor, Tensor]] = []
    commitment = latent.new_zeros(())
    total: Tensor | None = None
    semantic: Tensor | None = None
    for chain in (quantizer.rvq_first, quantizer.rvq_rest):
        x, chosen, loss = _chain(chain, latent, stats)
        through = x + (chosen - x).detach()
        semantic = through if semantic is None else semantic
        if free is not None:
            through = torch.where(free[:, None, None], x, through)
        out = chain.output_proj(through)
        total = out if total is None else total + out
        commitment = commitment + loss
    assert total is not None and semantic is not None
    return Quantised(total, semantic, commitment / len(stats), stats)


def _chain(
    chain: ResidualQuantizer,
    latent: Tensor,
    stats: list[tuple[Codebook, Tensor, Tensor]],
) -> tuple[Tensor, Tensor, Tensor]:
    x = chain.input_proj(latent)
    batch, inner, frames = x.shape
    residual = x.transpose(1, 2).reshape(-1, inner)
    total = torch.zeros_like(residual)
    loss = latent.new_zeros(())
    for codebook in chain.codebooks:
        codes = codebook.encode(residual.detach())
        vectors = codebook.decode(codes)
        stats.append((codebook, residual.detach(), codes))
        loss = loss + F.mse_loss(residual, vectors)
        residual = residual - vectors
        total = total + vectors
    return x, total.view(batch, frames, inner).transpose(1, 2), loss


@torch.no_grad()
def update(stats: list[tuple[Codebook, Tensor, Tensor]]) -> Tensor:
    """One step of all codebooks. Returns how many vectors were dead."""
    bins = len(stats[0][0].embedding_sum)
    equal = len(stats[0][1]) / bins
    dead_total = stats[0][1].new_zeros(())
    for codebook, inputs, codes in stats:
        chosen = F.one_hot(codes, bins).to(inputs.dtype)
        usage = codebook.cluster_usage.lerp(chosen.sum(0), 1 - DECAY)
        sums = codebook.embedding_sum.lerp(chosen.t() @ inputs, 1 - DECAY)
        dead = usage < DEAD * equal
        codebook.cluster_usage.copy_(torch.where(dead, equal, usage))
        drawn = torch.randint(len(inputs), (bins,), device=inputs.device)
        fresh = inputs[drawn] * equal
        codebook.embedding_sum.copy_(torch.where(dead[:, None], fresh, sums))
        codebook.refresh_in_place()
        dead_total += dead.sum()
    return dead_total


@torch.no_grad()
def begin_codebooks(quantizer: Quantizer, latent: Tensor, rounds: int = 12) -> None:
    """k-means on latents [B, dim, F], codebook after codebook of each chain."""
    for chain in (quantizer.rvq_first, quantizer.rvq_rest):
        x = chain.input_proj(latent)
        residual = x.transpose(1, 2).reshape(-1, x.shape[1])
        for codebook in chain.codebooks:
            bins = codebook.embedding_sum.shape[0]
            order = torch.randperm(len(residual), device=residual.device)
            wanted = order.repeat(-(-bins // len(order)))[:bins]
            codebook.embedding_sum.copy_(residual[wanted])
            codebook.cluster_usage.fill_(1)
            codebook.refresh()
            for _ in range(rounds):
                codes = codebook.encode(residual)
                chosen = F.one_hot(codes, bins).to(residual.dtype)
                counts, sums = chosen.sum(0), chosen.t() @ residual
                kept = counts[:, None] > 0
                vectors = torch.where(
                    kept, sums / counts.clamp(min=1)[:, None], codebook.vectors
                )
                codebook.embedding_sum.copy_(vectors)
                codebook.refresh()
            share = max(len(residual) / bins, 1.0)
            codebook.cluster_usage.fill_(share)
            codebook.embedding_sum.mul_(share)
            codebook.refresh()
            residual = residual - codebook.decode(codebook.encode(residual))
