"""Cutting text where a reader sees an end: never within one character."""

from __future__ import annotations

import unicodedata

from django import template

register = template.Library()

JOINER = "\u200d"
AT_A_SPACE = 0.8  # of the length that is allowed: a space after that is a good end


@register.filter
def shortened(text: str, most: int) -> str:
    """At most so many code points, with an ellipsis where something was left out."""
    if len(text) <= most:
        return text
    end = most - 1
    space = text.rfind(" ", int(AT_A_SPACE * most), end + 1)
    if space > 0:
        end = space
    while end and _is_within_one(text, end):
        end -= 1
    return text[:end].rstrip() + "…"


def _is_within_one(text: str, at: int) -> bool:
    """Whether what comes at ``at`` belongs to the character before it: accents, skin
    tones, joined pictures, flags of two letters."""
    before, after = text[at - 1], text[at]
    if JOINER in (before, after) or "\U0001f3fb" <= after <= "\U0001f3ff":
        return True
    if _is_flag_letter(before) and _is_flag_letter(after):
        first = at
        while first and _is_flag_letter(text[first - 1]):
            first -= 1
        return (at - first) % 2 == 1
    tag = "\U000e0020" <= after <= "\U000e007f"
    return tag or unicodedata.category(after) in ("Mn", "Mc", "Me")


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
