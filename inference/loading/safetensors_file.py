"""Safetensors files: what is in one, and its tensors one at a time.

Checks names, shapes and types. A matrix in 8 bits is stored as an I8 tensor ``w`` and
an F32 one ``w_scale`` [rows]. Must not depend on models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference.errors import PersonaplexError

STORED_TYPES = ("BF16", "F16", "F32")
EIGHT_BIT, SCALE = "I8", "_scale"
SHOWN = 20  # problems of one file; a wrong file has hundreds
Shape = tuple[int, ...]


class CheckpointError(PersonaplexError):
    code = "checkpoint"
    text = "The model can't be loaded. Its files are missing or broken."


@dataclass(frozen=True)
class Stored:
    shape: Shape
    kind: str  # as safetensors calls it: "BF16"


class TensorFile:
    """CheckpointError, from any method, for a file that can't be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as file:
            every = {name: _stored(file, name) for name in file.keys()}  # noqa: SIM118
        of_others = {name + SCALE for name in every if every[name].kind == EIGHT_BIT}
        self.tensors = {n: every[n] for n in every if n not in of_others}
        self._scales = {n: every[n] for n in every if n in of_others}

    def check(self, expected: Mapping[str, Shape]) -> None:
        """Exactly these names and shapes, in a type that ``read`` can convert."""
        problems = [f"missing {name}" for name in expected if name not in self.tensors]
        problems += [
            f"extra {name:.100}" for name in sorted(set(self.tensors) - set(expected))
        ]
        for name in sorted(set(expected) & set(self.tensors)):
            found = self.tensors[name]
            if found.shape != expected[name]:
                problems.append(
                    f"{name} is {list(found.shape)}, not {list(expected[name])}"
                )
            if found.kind == EIGHT_BIT:
                scale = Stored(found.shape[:1], "F32")
                if self._scales.get(name + SCALE) != scale:
                    wanted = f"{scale.kind} {list(scale.shape)}"
                    problems.append(f"{name} is I8 without {name}{SCALE}, {wanted}")
            elif found.kind not in STORED_TYPES:
                known = ", ".join(STORED_TYPES)
                problems.append(f"{name} is {found.kind}, not one of {known}")
        if problems:
            more = len(problems) - SHOWN
            shown = problems[:SHOWN] + ([f"and {more} more"] if more > 0 else [])
            raise CheckpointError(f"{self.path}: " + "; ".join(shown))

    def read(self, name: str, rows: int | None = None) -> Tensor:
        """The first ``rows`` of a tensor, on the host; bf16 of one in 8 bits, so that
        every number format begins at the same values. Opened each time: a file
        that stays open keeps every page that was read in our memory, 16 GB at last."""
        with self._opened() as file:
            tensor: Tensor = (
                file.get_slice(name)[:rows] if rows else file.get_tensor(name)
            )
            if tensor.dtype == torch.int8:
                tensor = widened(tensor, file.get_tensor(name + SCALE)[:rows])
            return tensor

    def all(self) -> dict[str, Tensor]:
        """Whole, by name; for small files."""
        return {name: self.read(name) for name in self.tensors}

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework="pt", device="cpu") as file:
                yield file
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{self.path}: {error}") from error


def _stored(file: Any, name: str) -> Stored:
    header = file.get_slice(name)
    return Stored(tuple(header.get_shape()), str(header.get_dtype()))


def narrowed(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [rows, ...] and their scale, fp32 [rows]: the nearest to ``matrix``."""
    wide = matrix.float()
    scale = wide.abs().flatten(1).amax(dim=1).clamp_(min=1e-12) / 127
    return (wide / _beside(scale, wide)).round_().to(torch.int8), scale


def widened(matrix: Tensor, scale: Tensor) -> Tensor:
    """bf16, what ``narrowed`` made."""
    return (matrix.float() * _beside(scale, matrix)).to(torch.bfloat16)


def _beside(scale: Tensor, matrix: Tensor) -> Tensor:
    return scale.view(-1, *(1,) * (matrix.dim() - 1))
