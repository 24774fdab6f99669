"""A fixed-width batch of sessions: their streaming state, and the step over it.

Owns tensors, one row per slot. Knows no prompts' meaning, no threads and no queues.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.engine.api import Sampling
from inference.loading.checkpoint import Model
from inference.network.config import FREE, USER
from inference.network.mimi.streaming import StreamState
from inference.prompts.persona import PersonaPrompt
from inference.timing import FRAME_SAMPLES, STREAMS

PCM_SCALE = 32768.0


class Bank:
    """All rows advance together in one step of fixed shape; rows that are not active
    keep their state. What a row computes does not depend on the others."""

    def __init__(self, model: Model, width: int) -> None:
        self.model, self.width = model, width
        device = model.device
        self._encoder = model.mimi.encoder_state(width)
        self._decoder = model.mimi.decoder_state(width)
        self._state = model.lm.state(width)
        self._sampler = model.lm.sampler(width)
        self._frame = torch.full((width, STREAMS), FREE, device=device)
        # One row alone may read just what it has written. Several rows read the whole
        # ring: how far would depend on the longest of them, and the sums with it; and
        # a step of one shape can be captured.
        self._spans = width == 1 and device.type == "cpu"

    def begin(
        self, row: int, sampling: Sampling, pinned: int = 0, least: int = 0
    ) -> None:
        """``pinned``: positions from the first that stay in view for good; ``least``:
        positions for which it needs memory at once, of those that have to ask."""
        self._encoder.reset([row])
        self._decoder.reset([row])
        self._state.reset(row)
        self._state.ring.pin(row, pinned)
        self._sampler.set(
            row,
            seed=sampling.seed,
            temperatures=(sampling.temperature_text, sampling.temperature_audio),
            top_k=(sampling.top_k_text, sampling.top_k_audio),
            greedy=sampling.greedy,
        )

    def end(self, row: int) -> None:
        """From now on the row costs the others as little as it can."""
        self._sampler.clear(row)

    def feed(self, row: int, prompt: PersonaPrompt, start: int, count: int) -> int:
        """Prefill up to ``count`` of the prompt's positions from ``start``; returns
        where it stopped. The last chunk makes the row ready for its first frame."""
        chunk = self._embeddings(prompt, start, start + count)
        self.model.lm.prefill(self._state, row, chunk, start)
        stopped = start + chunk.shape[0]
        if stopped == prompt.fed:
            self._state.begin(row, prompt.last, prompt.carry)
        return stopped

    def keep(self, row: int, count: int) -> list[Tensor]:
        """A copy of what the row's first ``count`` positions left, all of which it has
        written and none of which it has lost: of each layer [2, heads, count, d]."""
        layers = self._state.ring.layers
        return [store[:, row, :, :count].clone() for store in layers]

    def kept_bytes(self, count: int) -> int:
        layers = self._state.ring.layers
        return sum(s[:, 0, :, 0].numel() * s.element_size() for s in layers) * count

    def restore(self, row: int, prompt: PersonaPrompt, kept: list[Tensor]) -> None:
        """As feeding the whole prompt, from what ``keep`` returned after that."""
        ring = self._state.ring
        for store, copy in zip(ring.layers, kept, strict=True):
            store[:, row, :, : prompt.fed].copy_(copy)
        ring.position[row] = prompt.fed
        self._state.begin(row, prompt.last, prompt.carry)

    def set_codec(self, row: int, encoder: StreamState, decoder: StreamState) -> None:
        """The row goes on where these states of one stream are."""
        for ours, theirs in ((self._encoder, encoder), (self._decoder, decoder)):
            ours.buffer[row].copy_(theirs.buffer[0])
            ours.position[row].copy_(theirs.position[0])

    def _embeddings(self, prompt: PersonaPrompt, start: int, stop: int) -> Tensor:
        device, lm = self.model.device, self.model.lm
        if prompt.embeddings is None:
            return lm.embed(prompt.rows[start:stop].to(device))
        voiced = prompt.embeddings.shape[0]
        voice = prompt.embeddings[start:stop].to(device)
        rows = prompt.rows[max(start - voiced, 0) : max(stop - voiced, 0)].to(device)
        return torch.cat((voice, lm.embed(rows).to(voice.dtype)))

    def step(
        self, pcm: Tensor, active: Tensor | None, longest: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """int16 [B, 1920] of every row to the step's record [B, 17], the text token of
        the completed agent frame [B], and its sound, int16 [B, 1920].

        ``active`` bool [B], None for all; ``longest``: positions that the longest row
        will have written after this step.
        """
        mimi, lm = self.model.mimi, self.model.lm
        heard = pcm.float().div_(PCM_SCALE)[:, None]
        user = mimi.encode_step(heard, self._encoder, active)[:, :, 0]
        self._frame[:, USER] = user
        span = min(longest, self.model.config.temporal.context)
        row, output = lm.step(
            self._state,
            self._frame,
            self._sampler,
            active,
            span if self._spans else None,
        )
        record = torch.cat((row[:, : USER.start], user), dim=1)
        spoken = mimi.decode_step(output[:, 1:, None], self._decoder, active)
        sound = spoken.mul_(PCM_SCALE).round_().clamp_(-PCM_SCALE, PCM_SCALE - 1)
        assert sound.shape[-1] == FRAME_SAMPLES
        return record, output[:, 0], sound[:, 0].to(torch.int16)
