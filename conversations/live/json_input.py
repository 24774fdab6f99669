"""JSON from outside: one object, small, flat, of well-formed text and finite numbers.

With these bounds checked here, the code behind it never meets lone surrogates, NUL, an
infinite number or one of a thousand digits. It must not depend on any event.
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 4  # {"resume": {"token": …}} is 2
MAX_TEXT = 1_000  # characters of one string; a token has 43
MAX_NUMBER = 2.0**53  # beyond it JSON's readers disagree on what was meant


def parse_object(text: str) -> dict[str, Any]:
    """ValueError for everything else. The caller bounds the length of ``text``."""
    try:
        fields = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError("no object")
    _check(fields, MAX_DEPTH)
    return fields


def is_number(value: object) -> bool:
    """Neither a boolean, nor infinite, nor of a thousand digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= MAX_NUMBER


def _check(value: object, depth: int) -> None:
    match value:
        case dict() | list() if depth == 0:
            raise ValueError("nested too deeply")
        case dict():
            for name, part in value.items():
                _check(name, depth)
                _check(part, depth - 1)
        case list():
            for part in value:
                _check(part, depth - 1)
        case str():
            _check_text(value)
        case bool() | None:
            pass
        case int() | float() if not is_number(value):
            raise ValueError("a number out of range")


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise ValueError(f"a string of {len(text)} characters")
    if "\0" in text:
        raise ValueError("NUL in a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")
