"""Names that people give, as other people see them.

Invisible characters make two names look the same, and one that turns the direction of
writing turns the text of pages that follows it, too. They are taken out rather than
refused: pasted text often has some that its author does not see. No requests here, and
no rows.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator

# Between characters these are part of emoji, of Persian and of Indian scripts.
JOINERS = "\u200c\u200d"
LOOSE_JOINERS = re.compile(rf"(?<!\S)[{JOINERS}]+|[{JOINERS}]+(?!\S)")
LINES = {"Cc", "Zl", "Zp"}  # Unicode's categories of controls and line ends


def visible(name: str) -> str:
    """Without what has no width or turns the direction; spaces of any kind as one."""
    kept = "".join(c for c in name if unicodedata.category(c) != "Cf" or c in JOINERS)
    kept = "".join(" " if _ends_line(c) else c for c in kept)
    return re.sub(r"\s+", " ", LOOSE_JOINERS.sub("", kept)).strip()


def _ends_line(character: str) -> bool:
    """A NUL is left for Django to refuse."""
    return character != "\0" and unicodedata.category(character) in LINES


class NameField(forms.CharField):
    def __init__(self, *, max_length: int | None = None, **kwargs: Any) -> None:
        super().__init__(max_length=max_length, **kwargs)
        self.validators = [
            each for each in self.validators if not isinstance(each, MaxLengthValidator)
        ]
        if max_length:
            self.validators.append(_at_most(max_length))

    def to_python(self, value: Any) -> str:
        return visible(str(super().to_python(value) or ""))


def _at_most(most: int) -> Any:
    def check(name: str) -> None:
        if len(name) > most:
            raise ValidationError(
                f"This name has {len(name):,} characters; it may have at most {most}.",
                "max_length",
            )

    return check
