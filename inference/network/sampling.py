"""How tokens are chosen from logits (spec section 6).

Random numbers come from a hash of (seed, position, stream, token), so that what a
session draws depends on nothing else: not on its slot, other sessions or a resumption.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.network.config import TEXT
from inference.timing import CODEBOOKS, STREAMS

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
    """Exponential(1) draws for tokens 0..count-1 of a stream, fp32 [B, count]."""
    tokens = torch.arange(count, device=seed.device)
    return frame_exponentials(seed, position, torch.full_like(tokens, stream), tokens)


def frame_exponentials(
    seed: Tensor, position: Tensor, streams: Tensor, tokens: Tensor
) -> Tensor:
    """Exponential(1) draws, fp32 [B, N], for N pairs of stream and token; seed and
    position are int64 [B]."""
    key = _mix(_mix(seed + _GAMMA) + position)[:, None]
    key = _mix(key + (torch.arange(STREAMS, device=seed.device) + 1) * _GAMMA)
    bits = _shifted(_mix(key[:, streams] + (tokens + 1) * _GAMMA), 40)
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

    def __init__(
        self,
        batch: int,
        text_cardinality: int,
        audio_cardinality: int,
        device: torch.device,
    ) -> None:
        sizes = torch.tensor([text_cardinality, *[audio_cardinality] * CODEBOOKS])
        streams = torch.arange(len(sizes)).repeat_interleave(sizes)
        tokens = torch.cat([torch.arange(int(size)) for size in sizes])
        self._streams, self._tokens = streams.to(device), tokens.to(device)
        self._sizes = sizes.tolist()
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
        kind only; a top-k beyond the vocabulary takes all of it."""
        within = (min(top_k[0], self._sizes[0]), min(top_k[1], self._sizes[-1]))
        self.seed[row] = signed64(seed)
        self.greedy[row] = greedy
        for kind in (0, 1):
            self.temperature[row, kind] = temperatures[kind]
            self.top_k[row, kind] = 1 if greedy else within[kind]
        self._rows[row] = None if greedy else within

    def clear(self, row: int) -> None:
        """An empty row costs the others no sampling."""
        self.set(row, seed=0, temperatures=(1, 1), top_k=(1, 1), greedy=True)

    def draw(self, position: Tensor) -> list[Tensor]:
        """Of each chosen stream the draws [B, its tokens] for the timeline row at
        ``position`` [B]; nothing when all rows are greedy."""
        if not any(self._rows):
            return []
        pairs = self._streams, self._tokens
        drawn = frame_exponentials(self.seed, position, *pairs)
        return list(drawn.split(self._sizes, dim=1))

    def choose(self, stream: int, logits: Tensor, draws: list[Tensor]) -> Tensor:
        """The token of each row, int64 [B], with the draws of this step."""
        logits = logits.float()
        best = logits.argmax(-1)
        if not draws:
            return best
        kind = 0 if stream == TEXT else 1
        temperature = self.temperature[:, kind]
        greedy = self.greedy | (temperature <= 0)
        p = (logits / temperature.clamp(min=1e-6)[:, None]).softmax(-1)
        widest = max(top_k[kind] for top_k in self._rows if top_k is not None)
        kept = keep_top(p, self.top_k[:, kind], widest)
        drawn = torch.where(kept, p / draws[stream], -1.0).argmax(-1)
        return torch.where(greedy, best, drawn)
