"""How tokens are chosen from logits (spec section 6).

Random numbers come from a hash of (seed, position, stream, token), so that what a
session draws depends on nothing else: not on its slot, its company or a resumption.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.network.config import TEXT

# SplitMix64 (Steele, Lea, Flood 2014), as signed 64-bit constants.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX2 = 0x94D049BB133111EB - (1 << 64)


def signed64(seed: int) -> int:
    """Any integer to the int64 with the same low 64 bits."""
    return (seed + (1 << 63)) % (1 << 64) - (1 << 63)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _MIX1
    x = (x ^ _shifted(x, 27)) * _MIX2
    return x ^ _shifted(x, 31)


def exponentials(seed: Tensor, position: Tensor, stream: int, count: int) -> Tensor:
    """Exponential(1) draws for tokens 0..count-1, fp32 [B, count]; seed and position
    are int64 [B]."""
    key = _mix(_mix(seed + _GAMMA) + position)
    key = _mix(key + signed64((stream + 1) * _GAMMA))
    tokens = torch.arange(1, count + 1, device=seed.device)
    bits = _shifted(_mix(key[:, None] + tokens * _GAMMA), 40)
    # 24 bits, centred: never 0, and exact where it is small, which is what decides.
    return -torch.log1p(-(bits.float() + 0.5) * 2**-24)


def keep_top(p: Tensor, k: Tensor, widest: int) -> Tensor:
    """bool [B, V]: the k [B] largest of each row; of equals the lowest indices, so
    that the set does not depend on how a device sorts."""
    best = torch.topk(p, min(widest, p.shape[-1]), dim=-1).values
    least = best.gather(1, (k - 1)[:, None])
    above, ties = p > least, p == least
    room = k[:, None] - above.sum(-1, keepdim=True)
    return above | (ties & (ties.cumsum(-1) <= room))


class Sampler:
    """Settings of each row of a batch. ``set`` is called when a session begins; the
    rest is tensors that a captured graph may read."""

    def __init__(self, batch: int, device: torch.device) -> None:
        self.seed = torch.zeros(batch, dtype=torch.int64, device=device)
        self.greedy = torch.ones(batch, dtype=torch.bool, device=device)
        # Column 0 text, column 1 audio.
        self.temperature = torch.ones(batch, 2, device=device)
        self.top_k = torch.ones(batch, 2, dtype=torch.int64, device=device)
        self._rows: list[tuple[int, int] | None] = [None] * batch

    def set(
        self,
        row: int,
        *,
        seed: int,
        temperatures: tuple[float, float],
        top_k: tuple[int, int],
        greedy: bool,
    ) -> None:
        """Text first, then audio. A temperature of 0 makes the row greedy for that
        kind only."""
        self.seed[row] = signed64(seed)
        self.greedy[row] = greedy
        for kind in (0, 1):
            self.temperature[row, kind] = temperatures[kind]
            self.top_k[row, kind] = 1 if greedy else top_k[kind]
        self._rows[row] = None if greedy else top_k

    def clear(self, row: int) -> None:
        """An empty row costs the others no sampling."""
        self.set(row, seed=0, temperatures=(1, 1), top_k=(1, 1), greedy=True)

    def choose(self, stream: int, logits: Tensor, position: Tensor) -> Tensor:
        """The token of each row, int64 [B], for the timeline row at ``position``."""
        logits = logits.float()
        best = logits.argmax(-1)
        sampling = [top_k for top_k in self._rows if top_k is not None]
        if not sampling:
            return best
        kind = 0 if stream == TEXT else 1
        temperature = self.temperature[:, kind]
        greedy = self.greedy | (temperature <= 0)
        p = (logits / temperature.clamp(min=1e-6)[:, None]).softmax(-1)
        widest = max(top_k[kind] for top_k in sampling)
        kept = keep_top(p, self.top_k[:, kind], widest)
        q = exponentials(self.seed, position, stream, p.shape[-1])
        drawn = torch.where(kept, p / q, -1.0).argmax(-1)
        return torch.where(greedy, best, drawn)
