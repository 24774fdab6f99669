"""Words on the frames of a dialogue, and the same dialogue with other facts.

From text, tokens and times; must not depend on sound.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from inference.network.config import PAD
from inference.timing import FRAME_SECONDS
from inference.training.corpus.dialogues import Dialogue, Spoken, Variant
from inference.training.corpus.domain import Domain
from inference.training.corpus.personas import redraw_persona

TEXT_LEAD = 2  # frames by which a word's text comes before its sound
Encode = Callable[[str], list[int]]
Times = list[tuple[float, float]]


class TextWriter:
    def __init__(self, encode: Encode) -> None:
        self.encode = encode
        self.known: dict[str, list[list[int]]] = {}

    def pieces(self, text: str) -> list[list[int]]:
        """The tokens of each word."""
        if text not in self.known:
            self.known[text] = [self.encode(word) for word in text.split()]
        return self.known[text]

    def write(
        self,
        track: list[int],
        ids: list[int],
        frame: int,
        free: int,
        limit: int | None = None,
    ) -> int:
        """Tokens one after another from ``frame`` on, those from the frame ``limit``
        on left out; returns the next free frame."""
        last = len(track) if limit is None else min(limit, len(track))
        frame = max(frame, 0)
        for token in ids:
            while frame < last and track[frame] != free:
                frame += 1
            if frame < last:
                track[frame] = token
            frame += 1
        return frame

    def speak(
        self,
        track: list[int],
        pieces: list[list[int]],
        times: Times,
        now: float,
        end: float,
    ) -> None:
        """The agent's words from ``now`` on, each a little before its sound. One who
        is cut off at ``end``, seconds after ``now``, has begun to write what will
        not sound any more: it can't know that it will be interrupted."""
        cut = bool(times) and times[-1][1] > end
        limit = round((now + end) / FRAME_SECONDS) if cut else len(track)
        earliest = 0
        for ids, (begin, _) in zip(pieces, times, strict=True):
            frame = int((now + begin) / FRAME_SECONDS) - TEXT_LEAD
            earliest = self.write(track, ids, max(frame, earliest), PAD, limit)


def vary(
    made: Dialogue, domain: Domain, rng: random.Random, writer: TextWriter
) -> Variant:
    """Other values for the facts: reading the role prompt can't be replaced by
    remembering the dialogue."""
    facts = {key: rng.choice(domain.facts[key].values) for key in made.persona.facts}
    other = redraw_persona(domain, rng, facts)
    spoken = {key: value[0] for key, value in facts.items()}
    text = [PAD] * made.frames
    changed = [False] * made.frames
    for said in made.spoken:
        words = _with_other_facts(said, made.persona.facts, spoken)
        pieces, times = writer.pieces(words), said.words
        if words != said.text and times:
            first = int(said.now / FRAME_SECONDS)
            last = int((said.now + said.end) / FRAME_SECONDS)
            for frame in range(first, min(last + 1, made.frames)):
                changed[frame] = True
            times = _evenly(times, len(pieces))
        if len(pieces) == len(times):
            writer.speak(text, pieces, times, said.now, said.end)
    return Variant(other.role_prompt, text, changed)


def _with_other_facts(said: Spoken, old: dict[str, str], new: dict[str, str]) -> str:
    keys = [said.fact] if said.fact else []
    if not keys and "this is" in said.text:
        keys = [key for key in ("name", "employer") if old.get(key, "\0") in said.text]
    result = said.text
    for key in keys:
        result = result.replace(old[key], new[key])
    return result


def _evenly(times: Times, count: int) -> Times:
    """As many words as there are now, over the time there was."""
    begin = times[0][0]
    each = (times[-1][1] - begin) / count
    return [(begin + i * each, begin + (i + 1) * each) for i in range(count)]
