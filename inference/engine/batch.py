"""What the engine asks of a batch of sessions that step together.

Every row is one session. The implementations are ``TorchSlotBatch``, the network's own
layers on any device, and ``CudaSlotBatch``, packed weights and captured kernels. This
module must not depend on either, nor on threads and queues.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inference.engine.api import MemoryStats, Sampling
from inference.network.mimi.streaming import StreamState
from inference.network.sampling import Sampler
from inference.prompts.persona import PersonaPrompt

PCM_SCALE = 32768.0  # of int16 sound


class BatchStep(NamedTuple):
    """The results of one frame by row, in host memory that the next may overwrite.
    Rows that did not take part hold nothing of meaning."""

    record: NDArray[np.int64]  # [B, 17], see FrameResult.tokens
    agent: NDArray[np.int64]  # [B, 9], text and codes of the completed agent frame
    sound: NDArray[np.int16]  # [B, 1920], that frame's sound, the answer to this one


class SlotBatch(Protocol):
    """All rows advance together in one step of a fixed shape; rows that take no part
    keep their state. What a row computes does not depend on the other rows.

    The engine calls everything here, on one thread and in inference mode. A session's
    life in its row: ``begin``; ``feed`` until its prompt is in, or ``restore``; perhaps
    ``set_codec``; ``lead`` once; ``step`` for each frame; ``end``.

    The model's step n feeds the row of frame n - 1 and so depends on the user's frames
    up to that one. It runs as soon as that frame is there, a frame before its own user
    codes are known: ``lead`` runs step 0, ``step`` with frame n completes the record of
    step n and runs step n + 1.
    """

    @property
    def width(self) -> int:
        """The number of rows, B."""

    def begin(
        self, row: int, sampling: Sampling, pinned: int = 0, least: int = 0
    ) -> None:
        """A new session. ``pinned``: positions from the first that never leave the
        window; ``least``: positions that it needs memory for at once. WorkerBusy where
        rows share a memory that has too little left."""

    def end(self, row: int) -> None:
        """The session is over: the row costs the others as little as possible."""

    def feed(self, row: int, prompt: PersonaPrompt, start: int, count: int) -> int:
        """Prefill up to ``count`` of the prompt's positions from ``start``; returns
        where it stopped. The last chunk makes the row ready for its first frame."""

    def keep(self, row: int, count: int) -> list[Tensor]:
        """A copy of the keys and values of the row's first ``count`` positions, all of
        which were written and none overwritten; for ``restore`` of any row."""

    def kept_bytes(self, count: int) -> int:
        """The size of what ``keep`` would return."""

    def restore(self, row: int, prompt: PersonaPrompt, kept: list[Tensor]) -> None:
        """The same as feeding the whole prompt, from what ``keep`` returned then."""

    def set_codec(self, row: int, encoder: StreamState, decoder: StreamState) -> None:
        """Copy the state of one stream (batch 1) of each codec half into the row."""

    def lead(self, row: int) -> tuple[int, NDArray[np.int16]]:
        """Run the row's first step, for which no user frame is needed. Its agent frame
        is the prompt's last, or the one that answered the last frame of a log: its text
        token, and its sound [1920]."""

    def step(self, frames: dict[int, NDArray[np.int16]]) -> BatchStep:
        """One user frame, int16 [1920], of each of these rows; at least one. Completes
        the record of the step that has run before, and runs the next one."""

    def memory_stats(self) -> MemoryStats:
        """The memory that all rows share; empty where each row has its own."""


def set_sampling(sampler: Sampler, row: int, sampling: Sampling) -> None:
    sampler.set(
        row,
        seed=sampling.seed,
        temperatures=(sampling.temperature_text, sampling.temperature_audio),
        top_k=(sampling.top_k_text, sampling.top_k_audio),
        greedy=sampling.greedy,
    )
