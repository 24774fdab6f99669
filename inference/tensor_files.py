"""Safetensors files: what is in one, and its tensors one at a time.

Owns the check of names, shapes and types. Knows no models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference.errors import PersonaplexError

STORED_TYPES = ("BF16", "F16", "F32")
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
            self.tensors = {name: _stored(file, name) for name in file.keys()}  # noqa: SIM118

    def check(self, expected: Mapping[str, Shape]) -> None:
        """Exactly these names and shapes, in a type that we can convert."""
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
            if found.kind not in STORED_TYPES:
                known = ", ".join(STORED_TYPES)
                problems.append(f"{name} is {found.kind}, not one of {known}")
        if problems:
            more = len(problems) - SHOWN
            shown = problems[:SHOWN] + ([f"and {more} more"] if more > 0 else [])
            raise CheckpointError(f"{self.path}: " + "; ".join(shown))

    def read(self, name: str, rows: int | None = None) -> Tensor:
        """The first ``rows`` of a tensor, on the host. Opened anew each time: a file
        that stays open keeps every page that was read in our memory, 16 GB at last."""
        with self._opened() as file:
            return file.get_slice(name)[:rows] if rows else file.get_tensor(name)

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
