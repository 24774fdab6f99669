"""A role prompt in the characters that models have words for.

Typographic quotes and dashes, accents, markdown and emoji cost a model several tokens
each, as there are hardly any in text that is spoken. Here is what replaces each of
them, and what people call them.
"""

from __future__ import annotations

import re
import unicodedata

QUOTES = str.maketrans(
    {**dict.fromkeys("“”„‟«»″〝〞", '"'), **dict.fromkeys("‘’‚‛′‹›`´", "'")}
)
DASHES = re.compile(r"[ \t]*[—―⸺][ \t]*")
MARKDOWN = (
    (re.compile(r"```.*$", re.MULTILINE), ""),
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*\)"), r"\1"),  # links and pictures
    (re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+", re.MULTILINE), ""),  # headings
    (re.compile(r"^[ \t]{0,3}(?:[-*_][ \t]*){3,}$", re.MULTILINE), ""),  # rules
    (re.compile(r"^[ \t]{0,3}>[ \t]?", re.MULTILINE), ""),  # quotations
    (re.compile(r"^[ \t]*[*+•‣◦-][ \t]+", re.MULTILINE), ""),  # lists
    (re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1"), r"\2"),  # bold
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<!\w)_(?=\S)([^_\n]+?)(?<=\S)_(?!\w)"), r"\1"),  # italics
    (re.compile(r"`([^`\n]+)`"), r"\1"),
)
# Letters that no decomposition turns into plain ones.
LETTERS = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o"}
    | {"Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "þ": "th"}
)


def plain(text: str) -> str:
    """The same words; nothing but their letters and their marks changes."""
    for step in STEPS.values():
        text = step(text)
    text = re.sub(r"[ \t]+(?=\n|$)|(?<=\S)[ \t]{2,}", _spaces, text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def costly(text: str) -> list[str]:
    """What in it is not plain, by names for people."""
    return [name for name, step in STEPS.items() if step(text) != text]


def _spaces(found: re.Match[str]) -> str:
    return "" if found.end() == len(found.string) or _ends_line(found) else " "


def _ends_line(found: re.Match[str]) -> bool:
    return found.string[found.end()] == "\n"


def _without_markdown(text: str) -> str:
    for pattern, instead in MARKDOWN:
        text = pattern.sub(instead, text)
    return text


def _plain_quotes(text: str) -> str:
    return text.translate(QUOTES)


def _plain_dashes(text: str) -> str:
    text = re.sub(r"[‐‑‒–−]", "-", text)
    return DASHES.sub(", ", text).replace("…", "...")


def _plain_spaces(text: str) -> str:
    text = re.sub(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]", " ", text)
    return re.sub(r"[\u00ad\u200b\u2060\ufeff]", "", text)


def _without_accents(text: str) -> str:
    """Of Latin letters only: in other scripts marks are letters."""
    made = []
    for character in text.translate(LETTERS):
        decomposed = unicodedata.normalize("NFD", character)
        base, marks = decomposed[0], decomposed[1:]
        latin = base.isascii() and all(unicodedata.combining(m) for m in marks)
        made.append(base if latin else character)
    return re.sub(r"(?<=[A-Za-z])[\u0300-\u036f]+", "", "".join(made))


def _without_emoji(text: str) -> str:
    """Pictures, with what joins and colours them."""
    kept = (c for c in text if unicodedata.category(c) not in ("So", "Sk") or c == "^")
    return re.sub(
        r"[\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]|\u200d", "", "".join(kept)
    )


STEPS = {
    "markdown": _without_markdown,
    "curly quotes": _plain_quotes,
    "long dashes": _plain_dashes,
    "special spaces": _plain_spaces,
    "accents": _without_accents,
    "emoji": _without_emoji,
}
