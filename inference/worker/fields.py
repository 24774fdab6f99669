"""JSON objects to frozen dataclasses whose fields are plain values.

Owns the check of names and types. Knows no message; the ranges are the protocol's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from inference.errors import ProtocolError

T = TypeVar("T")


def build(
    kind: type[T], fields: object, nested: Mapping[str, type[Any]] | None = None
) -> T:
    """``nested``: which fields are themselves objects, and of what kind. ProtocolError
    for unknown, missing and wrongly typed fields."""
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(fields, dict) or not set(fields) <= set(known):
        raise ProtocolError(f"unknown fields for {kind.__name__}")
    values = dict(fields)
    for name, inner in (nested or {}).items():
        if name in values:
            values[name] = build(inner, values[name])
    for name, value in values.items():
        if not _fits(str(known[name].type), value):
            raise ProtocolError(f"{kind.__name__}.{name} has the wrong type")
    try:
        return kind(**values)
    except TypeError as error:
        raise ProtocolError(f"incomplete {kind.__name__}") from error


def _fits(annotation: str, value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is None:
        return annotation.endswith(" | None")
    return {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": number,
    }.get(annotation.removesuffix(" | None"), True)
