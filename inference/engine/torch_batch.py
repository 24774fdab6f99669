"""A batch of sessions by the network's own layers, on any device.

Holds their streaming state, one row per session. Must not depend on what a prompt
means, nor on threads and queues.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.engine.api import MemoryStats, Sampling
from inference.engine.batch import PCM_SCALE, BatchStep, set_sampling
from inference.loading.checkpoint import Model
from inference.network.config import AGENT, FREE, TEXT, USER
from inference.network.mimi.streaming import StreamState
from inference.prompts.persona import PersonaPrompt
from inference.timing import FRAME_SAMPLES, STREAMS


class TorchSlotBatch:
    """See SlotBatch. ``compute`` is the part of a step that runs on the device."""

    def __init__(self, model: Model, width: int) -> None:
        self.model, self.width = model, width
        device = model.device
        self._encoder = model.mimi.encoder_state(width)
        self._decoder = model.mimi.decoder_state(width)
        self._state = model.lm.state(width)
        self._sampler = model.lm.sampler(width)
        self._written = [0] * width  # positions of each row
        self._frame = torch.full((width, STREAMS), FREE, device=device)
        # Text and agent codes of the step that has run and lacks its user codes.
        self._chosen = torch.zeros(width, AGENT.stop, dtype=torch.int64, device=device)
        # One row alone may read just what it has written. Several rows read the whole
        # ring: how far would depend on the longest of them, and the sums with it; and
        # a step of one shape can be captured.
        self._spans = width == 1 and device.type == "cpu"

    def begin(
        self, row: int, sampling: Sampling, pinned: int = 0, least: int = 0
    ) -> None:
        self._encoder.reset([row])
        self._decoder.reset([row])
        self._state.reset(row)
        self._state.ring.pin(row, pinned)
        self._written[row] = 0
        set_sampling(self._sampler, row, sampling)

    def end(self, row: int) -> None:
        self._sampler.clear(row)

    def feed(self, row: int, prompt: PersonaPrompt, start: int, count: int) -> int:
        chunk = self._embeddings(prompt, start, start + count)
        self.model.lm.prefill(self._state, row, chunk, start)
        stopped = self._written[row] = start + chunk.shape[0]
        if stopped == prompt.fed:
            self._state.begin(row, prompt.last, prompt.carry)
        return stopped

    def keep(self, row: int, count: int) -> list[Tensor]:
        """Of each layer [2, heads, count, head_dim]."""
        layers = self._state.ring.layers
        return [store[:, row, :, :count].clone() for store in layers]

    def kept_bytes(self, count: int) -> int:
        layers = self._state.ring.layers
        return sum(s[:, 0, :, 0].numel() * s.element_size() for s in layers) * count

    def restore(self, row: int, prompt: PersonaPrompt, kept: list[Tensor]) -> None:
        ring = self._state.ring
        for store, copy in zip(ring.layers, kept, strict=True):
            store[:, row, :, : prompt.fed].copy_(copy)
        ring.position[row] = self._written[row] = prompt.fed
        self._state.begin(row, prompt.last, prompt.carry)

    def set_codec(self, row: int, encoder: StreamState, decoder: StreamState) -> None:
        self._encoder.copy_stream(row, encoder)
        self._decoder.copy_stream(row, decoder)

    def memory_stats(self) -> MemoryStats:
        return MemoryStats()  # a whole window for each row

    def _embeddings(self, prompt: PersonaPrompt, start: int, stop: int) -> Tensor:
        device, lm = self.model.device, self.model.lm
        if prompt.embeddings is None:
            return lm.embed(prompt.rows[start:stop].to(device))
        voiced = prompt.embeddings.shape[0]
        voice = prompt.embeddings[start:stop].to(device)
        rows = prompt.rows[max(start - voiced, 0) : max(stop - voiced, 0)].to(device)
        return torch.cat((voice, lm.embed(rows).to(voice.dtype)))

    def lead(self, row: int) -> tuple[int, NDArray[np.int16]]:
        self._written[row] += 1
        active = self._mask([row])
        _, agent, sound = self.compute(None, active, self._written[row])
        return int(agent[row, TEXT]), sound[row].cpu().numpy()

    def step(self, frames: dict[int, NDArray[np.int16]]) -> BatchStep:
        sound = np.zeros((self.width, FRAME_SAMPLES), dtype=np.int16)
        for row, frame in frames.items():
            sound[row] = frame
            self._written[row] += 1
        record, agent, spoken = self.compute(
            torch.from_numpy(sound).to(self.model.device),
            self._mask(list(frames)),
            max(self._written[row] for row in frames),
        )
        # The only place where the host waits for the device.
        return BatchStep(
            record.cpu().numpy(), agent.cpu().numpy(), spoken.cpu().numpy()
        )

    def _mask(self, rows: list[int]) -> Tensor | None:
        """Which rows take part, bool [B]; None: all of one."""
        if self.width == 1:
            return None
        active = torch.zeros(self.width, dtype=torch.bool)
        active[rows] = True
        return active.to(self.model.device)

    def compute(
        self, pcm: Tensor | None, active: Tensor | None, longest: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """int16 [B, 1920] of every row, or None for a first step, to the tensors of a
        BatchStep, on the device.

        ``active`` bool [B], None for all; ``longest``: positions that the longest row
        will have written after this step.
        """
        record = self._frame if pcm is None else self._hear(pcm, active)
        return record, *self._answer(active, longest)

    def _hear(self, pcm: Tensor, active: Tensor | None) -> Tensor:
        """The record [B, 17] of the newest step, completed with the user's codes. Never
        waits for the device, so that it can be captured in a CUDA graph, nor does
        ``_answer``."""
        mimi, lm = self.model.mimi, self.model.lm
        scaled = pcm.float().div_(PCM_SCALE)[:, None]
        user = mimi.encode_step(scaled, self._encoder, active)[:, :, 0]
        self._frame[:, USER] = user
        row = lm.advance(self._state, self._chosen, self._frame, active)
        return torch.cat((row[:, : USER.start], user), dim=1)

    def _answer(self, active: Tensor | None, longest: int) -> tuple[Tensor, Tensor]:
        """The agent frame [B, 9] that the next step completes, and its sound."""
        mimi, lm = self.model.mimi, self.model.lm
        span = min(longest, self.model.config.temporal.context)
        chosen = lm.choose(
            self._state, self._sampler, active, span if self._spans else None
        )
        if active is not None:
            chosen = torch.where(active[:, None], chosen, self._chosen)
        self._chosen.copy_(chosen)
        output = lm.complete(self._state, chosen)
        spoken = mimi.decode_step(output[:, 1:, None], self._decoder, active)
        sound = spoken.mul_(PCM_SCALE).round_().clamp_(-PCM_SCALE, PCM_SCALE - 1)
        assert sound.shape[-1] == FRAME_SAMPLES
        return output, sound[:, 0].to(torch.int16)
