"""Text made comparable: what a recogniser wrote and what the model meant to say."""

from __future__ import annotations

import re

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
    *("seventeen", "eighteen", "nineteen"),
)
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = {
    **{"1st": "first", "2nd": "second", "3rd": "third", "4th": "fourth"},
    **{"5th": "fifth", "6th": "sixth", "10th": "tenth"},
}
# No two people write these alike; Whisper's own normaliser leaves such sounds out, too.
FILLERS = {
    *("hm", "hmm", "mhm", "mhmm", "mm", "mmm", "mmhm", "mmhmm", "uh", "huh", "um"),
}
SAME = {
    **{"mr": "mister", "mrs": "missus", "ms": "missus", "dr": "doctor", "st": "street"},
    **{"ok": "okay", "wi fi": "wifi", "favourite": "favorite", "colour": "color"},
}


def spelled(number: int) -> str:
    """Up to 999, as it is said."""
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f" {ONES[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{ONES[hundreds % 10]} hundred" + (f" {spelled(rest)}" if rest else "")


def plain(text: str) -> str:
    """Lower case, digits and signs as words, no punctuation, no "mm-hm"."""
    text = text.lower().replace("wi-fi", "wifi").replace("’", "'")
    for short, long in ORDINALS.items():
        text = re.sub(rf"\b{short}\b", long, text)
    text = re.sub(r"\b(\d+):00\b", r"\1", text)
    text = re.sub(r"\$(\d+)", r"\1 dollars", text).replace("%", " percent")
    text = re.sub(r"\d{1,3}", lambda m: f" {spelled(int(m[0]))} ", text)
    text = " ".join(re.sub(r"[^a-z ]", " ", text.replace("'", "")).split())
    words = (word for word in text.split() if word not in FILLERS)
    return " ".join(SAME.get(word, word) for word in words)


def errors(wanted: str, heard: str) -> tuple[int, int]:
    """Word errors and words wanted (Levenshtein over ``plain`` words)."""
    a, b = plain(wanted).split(), plain(heard).split()
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            change = diagonal + (word != other)
            diagonal = row[j]
            row[j] = min(change, row[j] + 1, row[j - 1] + 1)
    return row[-1], len(a)
