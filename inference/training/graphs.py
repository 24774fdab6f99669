"""A training step as one CUDA graph, which costs one launch instead of thousands.

Holds the static inputs. A step must read them, take the same path every time and never
wait for the device; nothing else here depends on what it does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

WARM_STEPS = 3  # which choose algorithms and make what is made once

Step = Callable[..., dict[str, Tensor]]


class Captured:
    """Call it with the inputs that it was made with, of the same shapes."""

    def __init__(self, step: Step, inputs: Mapping[str, Tensor]) -> None:
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_STEPS):
                step(**self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        # Other threads copy to the device meanwhile, and may.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.outputs = step(**self.inputs)

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        for name, value in inputs.items():
            self.inputs[name].copy_(value)
        self.graph.replay()
        return self.outputs


def captured(step: Step, inputs: Mapping[str, Tensor]) -> Step:
    """The step as a graph; as it is, where that does not go."""
    try:
        return Captured(step, inputs)
    except RuntimeError as error:
        sys.stderr.write(f"not captured: {str(error)[:2000]}\n")
        torch.cuda.synchronize()
        return step
