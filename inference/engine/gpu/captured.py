"""The plain engine for a GPU on which the fast one can't start: its step as one graph.

The network's own layers are thousands of small kernels a step. Launched one by one they
take the host longer than a frame lasts, captured they do not. Same tokens as Engine's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.engine.batch import Bank
from inference.engine.engine import Engine
from inference.engine.gpu.cuda_graphs import capture
from inference.loading.checkpoint import Model
from inference.timing import FRAME_SAMPLES


class CapturedBank(Bank):
    def __init__(self, model: Model, width: int) -> None:
        super().__init__(model, width)
        device = model.device
        shape = (width, FRAME_SAMPLES)
        self._pcm = torch.zeros(shape, dtype=torch.int16, device=device)
        # Nobody is active while it is captured, so no state changes.
        self._active = torch.zeros(width, dtype=torch.bool, device=device)
        self._said: tuple[Tensor, Tensor, Tensor]
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._graph = capture(self._run, None)

    def step(
        self, pcm: Tensor, active: Tensor | None, longest: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As a Bank's; what it returns is overwritten by the next step."""
        self._pcm.copy_(pcm)
        if active is None:
            self._active.fill_(True)
        else:
            self._active.copy_(active)
        if self._graph is None:
            self._run()
        else:
            self._graph.replay()
        return self._said

    def _run(self) -> None:
        context = self.model.config.temporal.context
        self._said = super().step(self._pcm, self._active, context)


class CapturedEngine(Engine):
    """All slots are one bank, however few they are."""

    def _new_bank(self) -> Bank:
        return CapturedBank(self.model, self._width)
