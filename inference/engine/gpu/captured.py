"""The plain step as one CUDA graph, for a GPU on which the fast engine can't start.

The network's own layers are thousands of small kernels a step. Launched one by one they
take the host longer than a frame lasts; captured they do not. The tokens are those of
the plain step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.engine.gpu.cuda_graphs import capture
from inference.engine.torch_batch import TorchSlotBatch
from inference.loading.checkpoint import Model
from inference.timing import FRAME_SAMPLES


class CapturedSlotBatch(TorchSlotBatch):
    def __init__(self, model: Model, width: int) -> None:
        super().__init__(model, width)
        device = model.device
        shape = (width, FRAME_SAMPLES)
        self._pcm = torch.zeros(shape, dtype=torch.int16, device=device)
        # No row is active while the step is captured, so no state changes.
        self._heard = torch.zeros(width, dtype=torch.bool, device=device)
        self._active = torch.zeros_like(self._heard)
        self._output: tuple[Tensor, Tensor, Tensor]
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._graph = capture(self._run, None)

    def compute(
        self, pcm: Tensor | None, active: Tensor | None, longest: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As TorchSlotBatch's, but the next step overwrites what it returns. Of a first
        step no row is heard."""
        if active is None:
            self._active.fill_(True)
        else:
            self._active.copy_(active)
        if pcm is None:
            self._heard.fill_(False)
        else:
            self._pcm.copy_(pcm)
            self._heard.copy_(self._active)
        if self._graph is None:
            self._run()
        else:
            self._graph.replay()
        return self._output

    def _run(self) -> None:
        context = self.model.config.temporal.context
        record = self._hear(self._pcm, self._heard)
        self._output = record, *self._answer(self._active, context)
