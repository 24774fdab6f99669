"""The language model: rows of 17 tokens in, the next row out, for many sessions.

Holds the streaming state of the token timeline and runs embedding, temporal
transformer, sampling and depth transformer in order. Must not depend on sound, sockets
or files.
"""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.config import AGENT, FREE, TEXT, ModelConfig
from inference.network.depth import DepthTransformer
from inference.network.layers import by_columns, fill_normal, parameter
from inference.network.sampling import Sampler
from inference.network.temporal import TemporalTransformer
from inference.timing import STREAMS


class LMState:
    """What the model remembers of ``batch`` sessions; one row each."""

    def __init__(self, model: LanguageModel, batch: int) -> None:
        device = model.text_emb.device
        self.ring = model.temporal.ring(batch)
        # The newest complete row, not yet fed, at position ring.position.
        self.row = torch.zeros(batch, STREAMS, dtype=torch.int64, device=device)
        # Of the row after it, what the last frame provided: its delayed streams.
        self.carry = torch.full_like(self.row, FREE)

    def begin(self, index: int, row: Tensor, carry: Tensor) -> None:
        """Continue from a prefilled prompt whose last row was not fed yet."""
        self.row[index] = row.to(self.row.device)
        self.carry[index] = carry.to(self.row.device)

    def reset(self, index: int) -> None:
        self.ring.reset(index)
        self.row[index] = 0
        self.carry[index] = FREE


class LanguageModel(nn.Module):
    """Embeddings are bf16, and summed in bf16, whatever ``dtype`` the rest computes
    in: voice prompts hold sums in bf16, and a voice must speak the same from its file
    as from its codes."""

    offsets: Tensor
    delayed: Tensor

    def __init__(
        self,
        config: ModelConfig,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        embedding_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__()
        device = torch.device(device)
        dim = config.temporal.dim
        text, audio = config.text_cardinality, config.audio_cardinality
        self.config, self.dtype = config, dtype
        # [codebook of agent then user, token, dim]
        self.emb = parameter(
            STREAMS - 1, audio + 1, dim, dtype=embedding_dtype, device=device
        )
        self.text_emb = parameter(text + 1, dim, dtype=embedding_dtype, device=device)
        self.temporal = TemporalTransformer(config.temporal, dtype, device)
        self.text_linear = parameter(text, dim, dtype=dtype, device=device)
        self.depth = DepthTransformer(config.depth, dim, text, audio, dtype, device)
        offsets = torch.arange(STREAMS - 1, device=device) * (audio + 1)
        self.register_buffer("offsets", offsets, persistent=False)
        delayed = torch.tensor(config.delays, device=device) > 0
        self.register_buffer("delayed", delayed, persistent=False)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Random weights; same seed, same weights, on any device and in any dtype."""
        for weight in (self.emb, self.text_emb):
            fill_normal(weight, STREAMS, generator)
        self.temporal.init_weights(generator)
        fill_normal(self.text_linear, self.text_linear.shape[1], generator)
        self.depth.init_weights(generator)

    def by_columns(self) -> None:
        """Lay the matrices out for steps of one session on a CPU (``layers``)."""
        self.temporal.by_columns()
        by_columns(self.text_linear)
        self.depth.by_columns()

    def state(self, batch: int) -> LMState:
        return LMState(self, batch)

    def sampler(self, batch: int) -> Sampler:
        text, audio = self.config.text_cardinality, self.config.audio_cardinality
        return Sampler(batch, text, audio, self.text_emb.device)

    def embed(self, rows: Tensor) -> Tensor:
        """Rows [N, 17] to their summed embeddings [N, dim], each partial sum rounded,
        codebooks from left to right and text last (spec 4.1)."""
        index = rows[:, 1:] + self.offsets
        parts = F.embedding(index, self.emb.flatten(0, 1)).unbind(1)
        return reduce(torch.add, parts) + F.embedding(rows[:, TEXT], self.text_emb)

    def prefill(self, state: LMState, row: int, embeddings: Tensor, start: int) -> None:
        """Feed summed embeddings [T, dim] of one session at positions from start."""
        self.temporal.prefill(embeddings.to(self.dtype), state.ring, row, start)

    def step(
        self,
        state: LMState,
        frame: Tensor,
        sampler: Sampler,
        active: Tensor | None = None,
        span: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One frame of every session: feed the newest row, complete the next one.

        ``frame`` int64 [B, 17] is the frame now provided, FREE where the model is to
        choose; user codes must be provided. ``active`` bool [B]: the other rows keep
        their state and their results mean nothing. ``span``: see TemporalTransformer.

        Returns the new row [B, 17] and the text and agent codes [B, 9] of the frame
        that it completed, which is the one before ``frame``.
        """
        chosen = self.choose(state, sampler, active, span, frame)
        output = self.complete(state, chosen)
        return self.advance(state, chosen, frame, active), output

    def choose(
        self,
        state: LMState,
        sampler: Sampler,
        active: Tensor | None = None,
        span: int | None = None,
        provided: Tensor | None = None,
    ) -> Tensor:
        """The first half of a step, which needs nothing of the user's frame: feed the
        newest row, choose text and agent codes [B, 9] of the next one. ``provided``:
        the frame [B, 17] whose text and agent codes are given where not FREE."""
        agents = slice(0, AGENT.stop)
        forced = state.carry  # FREE where a stream is not delayed: see ``advance``
        if provided is not None:
            forced = torch.where(self.delayed, forced, provided)
        forced = forced[:, agents]
        embedded = self.embed(state.row).to(self.dtype)
        draws = sampler.draw(state.ring.position + 1)  # of the row to complete
        hidden = self.temporal.step(embedded, state.ring, active, span)
        logits = F.linear(hidden, self.text_linear)
        text = sampler.choose(TEXT, logits, draws)
        text = torch.where(forced[:, TEXT] >= 0, forced[:, TEXT], text)

        def choose(codebook: int, logits: Tensor) -> Tensor:
            return sampler.choose(AGENT.start + codebook, logits, draws)

        codes = self.depth.step(hidden, text, forced[:, AGENT], choose)
        return torch.cat((text[:, None], codes), dim=1)

    def complete(self, state: LMState, chosen: Tensor) -> Tensor:
        """The text and agent codes [B, 9] of the frame that ``chosen`` completes."""
        agents = slice(0, AGENT.stop)
        return torch.where(self.delayed[agents], chosen, state.row[:, agents])

    def advance(
        self,
        state: LMState,
        chosen: Tensor,
        frame: Tensor,
        active: Tensor | None = None,
    ) -> Tensor:
        """The second half of a step: the new row [B, 17], once ``frame`` has the user's
        codes."""
        row = torch.where(self.delayed, state.carry, frame)
        row[:, : AGENT.stop] = chosen
        carry = torch.where(self.delayed, frame, FREE)
        if active is not None:
            row = torch.where(active[:, None], row, state.row)
            carry = torch.where(active[:, None], carry, state.carry)
        state.row.copy_(row)
        state.carry.copy_(carry)
        return row
