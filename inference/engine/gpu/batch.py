"""A batch of all sessions of a GPU, over packed weights, by steps that are captured.

Holds their streaming state, pinned host buffers and CUDA graphs, one for each of a few
numbers of rows. Must not depend on what a prompt means, nor on threads and queues.

A frame's way is one chain: the user's codes complete the newest row, which the language
model then feeds to choose the next one, whose agent frame is the answer.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.engine.api import MemoryStats, Sampling
from inference.engine.batch import BatchStep, set_sampling
from inference.engine.gpu.cuda_graphs import StepGraphs, sizes_for
from inference.engine.gpu.lm import OWN, GpuLM
from inference.engine.gpu.prefill_graphs import PromptGraphs
from inference.errors import WorkerBusy
from inference.kernels.packed import PackedModel
from inference.network.config import TEXT
from inference.network.mimi import Mimi
from inference.network.mimi.streaming import StreamState
from inference.prompts.persona import PersonaPrompt
from inference.timing import CODEBOOKS, FRAME_SAMPLES, STREAMS


class CudaSlotBatch:
    """See SlotBatch. One step runs at a time, over the first rows up to the last that
    takes part."""

    def __init__(
        self,
        packed: PackedModel,
        mimi: Mimi,
        slots: int,
        kv: str,
        ops: ModuleType,
        pages: int | None = None,
        promised: int | None = None,
    ) -> None:
        """``ops``: kernels.fast, or kernels.plain where there is no GPU. ``pages`` of
        memory for all sessions; None: whole windows for all. ``promised``: positions
        that each may count on; None: a whole window."""
        self.packed, self.mimi, self.width = packed, mimi, slots
        self.device = packed.device
        self.lm = GpuLM(packed, slots, kv, ops, pages)
        self._written = [0] * slots  # positions of each row
        self._promised = promised
        self._codec = ops.codec(mimi)
        self._encoder = mimi.encoder_state(slots)
        self._decoder = mimi.decoder_state(slots)
        self._graphs: StepGraphs | None = None
        self._prompts = PromptGraphs(self.lm)
        cuda = self.device.type == "cuda"
        self._done = torch.cuda.Event(blocking=True) if cuda else None

        def pair(*shape: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            host = torch.zeros(shape, dtype=dtype, pin_memory=cuda)
            return host, torch.zeros(shape, dtype=dtype, device=self.device)

        self.pcm_host, self._pcm = pair(slots, FRAME_SAMPLES, dtype=torch.int16)
        self.active_host, self._active = pair(slots, dtype=torch.bool)
        # Of those the rows that have a user frame; all but those of a first step.
        self.heard_host, self._heard = pair(slots, dtype=torch.bool)
        self._record_host, self._record = pair(slots, STREAMS, dtype=torch.int64)
        self._output_host, self._output = pair(slots, OWN, dtype=torch.int64)
        self._sound_host, self._sound = pair(slots, FRAME_SAMPLES, dtype=torch.int16)
        _, self._user = pair(slots, CODEBOOKS, dtype=torch.int64)
        # Text and agent codes of the step that has run and lacks its user codes.
        _, self._chosen = pair(slots, OWN, dtype=torch.int64)

    def capture(self, sizes: list[int] | None = None) -> None:
        """To be called once, before any session begins."""
        if not self.lm.ops.CAPTURED:
            return
        self.active_host.zero_()
        self.heard_host.zero_()
        self._prompts.capture()
        self._graphs = StepGraphs(self.launch, sizes or sizes_for(self.width))

    def begin(
        self, row: int, sampling: Sampling, pinned: int = 0, least: int = 0
    ) -> None:
        promised = self._promised and max(self._promised, least + 2)
        if not self.lm.reset(row, promised):
            raise WorkerBusy("no memory for another conversation")
        self._written[row] = 0
        self._encoder.reset([row])
        self._decoder.reset([row])
        self.lm.ring.pin(row, pinned)
        set_sampling(self.lm.sampler, row, sampling)

    def end(self, row: int) -> None:
        self.lm.sampler.clear(row)
        self.lm.ring.release(row)

    def feed(self, row: int, prompt: PersonaPrompt, start: int, count: int) -> int:
        chunk = self._embeddings(prompt, start, start + count)
        stopped = self._written[row] = start + chunk.shape[0]
        self.lm.ring.reserve(row, stopped)
        size = (
            self._prompts.size_for(row, stopped, len(chunk)) if self._graphs else None
        )
        if size is None:
            self.lm.prefill(row, chunk, start)
        else:
            self._prompts.run(size, row, start, chunk)
        if stopped == prompt.fed:
            self.lm.begin(row, prompt.last, prompt.carry)
        return stopped

    def keep(self, row: int, count: int) -> list[Tensor]:
        return self.lm.ring.keep(row, count)

    def kept_bytes(self, count: int) -> int:
        return self.lm.ring.slot_bytes * count

    def restore(self, row: int, prompt: PersonaPrompt, kept: list[Tensor]) -> None:
        self.lm.ring.restore(row, kept, prompt.fed)
        self._written[row] = prompt.fed
        self.lm.begin(row, prompt.last, prompt.carry)

    def set_codec(self, row: int, encoder: StreamState, decoder: StreamState) -> None:
        self._encoder.copy_stream(row, encoder)
        self._decoder.copy_stream(row, decoder)

    def memory_stats(self) -> MemoryStats:
        ring = self.lm.ring
        spare = ring.pages.spare
        return MemoryStats(
            total=ring.pages.total * ring.page,
            free=ring.pages.free * ring.page,
            room=spare // ring.pages_for(self._promised or ring.context),
            cut=ring.cut,
        )

    def settle(self, frames: int) -> None:
        """All rows as if they had written so many positions: for measurements."""
        for row in range(self.width):
            self.lm.reset(row)
            self.lm.ring.reserve(row, frames)
        self._written = [frames] * self.width
        self.lm.position.fill_(frames)

    def _embeddings(self, prompt: PersonaPrompt, start: int, stop: int) -> Tensor:
        voiced = 0 if prompt.embeddings is None else prompt.embeddings.shape[0]
        rows = prompt.rows[max(start - voiced, 0) : max(stop - voiced, 0)]
        parts = [self.lm.embed(rows.to(self.device))] if len(rows) else []
        if prompt.embeddings is not None and start < voiced:
            parts.insert(0, prompt.embeddings[start:stop].to(self.device))
        return torch.cat(parts)

    def lead(self, row: int) -> tuple[int, NDArray[np.int16]]:
        self._run({row}, heard=set())
        return int(self._output_host[row, TEXT]), self._sound_host[row].numpy().copy()

    def step(self, frames: dict[int, NDArray[np.int16]]) -> BatchStep:
        sound = self.pcm_host.numpy()
        for row, frame in frames.items():
            sound[row] = frame
        self._run(set(frames), heard=set(frames))
        hosts = self._record_host, self._output_host, self._sound_host
        return BatchStep(hosts[0].numpy(), hosts[1].numpy(), hosts[2].numpy())

    def _run(self, active: set[int], heard: set[int]) -> None:
        """One step of these rows; returns when its results are in host memory."""
        for mask, rows in ((self.active_host, active), (self.heard_host, heard)):
            taking_part = mask.numpy()
            taking_part[:] = False
            taking_part[list(rows)] = True
        for row in active:
            self._written[row] += 1
            self.lm.ring.reserve(row, self._written[row])
        needed = max(active) + 1
        if self._graphs is None:
            self.launch(needed)
        else:
            self._graphs.replay(needed)
        if self._done is not None:
            # The only place where the host waits for the device.
            self._done.record()
            self._done.synchronize()

    def launch(self, n: int) -> None:
        """One step of the first n rows, from host buffers to host buffers."""
        self._pcm[:n].copy_(self.pcm_host[:n], non_blocking=True)
        self._active[:n].copy_(self.active_host[:n], non_blocking=True)
        self._heard[:n].copy_(self.heard_host[:n], non_blocking=True)
        self.encode(n)
        user, chosen = self._user[:n], self._chosen[:n]
        record = self.lm.advance(chosen, user, self._heard[:n])
        self._record_host[:n].copy_(record, non_blocking=True)
        self.speak(n)
        self._output_host[:n].copy_(self._output[:n], non_blocking=True)
        self._sound_host[:n].copy_(self._sound[:n], non_blocking=True)

    def encode(self, n: int) -> None:
        state, active = self._encoder.first(n), self._heard[:n]
        self._codec.encode(self._pcm[:n], state, active, self._user[:n])

    def speak(self, n: int) -> None:
        active = self._active[:n]
        chosen = self.lm.choose(self.lm.temporal(active))
        self._output[:n].copy_(self.lm.complete(chosen))
        kept = self._chosen[:n]
        kept.copy_(torch.where(active[:, None], chosen, kept))
        self.decode(n)

    def decode(self, n: int) -> None:
        state, active = self._decoder.first(n), self._active[:n]
        self._codec.decode(self._output[:n, 1:], state, active, self._sound[:n])
