"""Figures from what was said when: right answers, turn-taking, interruptions.

By the formulas of Full-Duplex-Bench where it has one, from segments of speech, words
with times and text tokens with times. Must not depend on sound or models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from inference.training.evaluation.evaluators import Word
from inference.training.evaluation.scripts import Question, Script
from inference.training.evaluation.words import errors, plain

Segments = list[tuple[float, float]]
EARLY = 0.1  # before the question's end an answer may begin, seconds
STOP_WITHIN = 0.5
INSIDE = 0.1  # of a pause's edges that don't count, seconds
BRIEF_SECONDS, BRIEF_WORDS = 1.0, 3  # less than both is no turn (rule R)
BACKCHANNEL_WORDS = 2  # and less than BRIEF_SECONDS


@dataclass
class Heard:
    """What became of one conversation."""

    script: Script
    tokens: list[tuple[float, str]]  # the agent's own text, pieces with their times
    words: list[Word]  # as recognised from its sound
    agent: Segments
    user: Segments = field(default_factory=list)
    speaker_right: bool | None = None
    speaker_own: float = 0.0
    coded_speaker: dict[str, float] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)

    def text(self, begin: float, end: float) -> str:
        """Of the agent's own tokens."""
        return "".join(p for at, p in self.tokens if begin <= at < end).strip()

    def said(self, begin: float, end: float) -> list[Word]:
        return [w for w in self.words if begin <= w.begin < end]


class Table:
    """Values by name; shares and medians with their n."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, value: float | bool) -> None:
        self.values[name].append(float(value))

    def figures(self) -> dict[str, dict[str, float]]:
        def one(name: str, values: list[float]) -> dict[str, float]:
            kind: Callable[[Iterable[float]], np.floating] = (
                np.median if "median" in name else np.mean  # type: ignore[assignment]
            )
            return {"value": round(float(kind(values)), 3), "n": len(values)}

        return {name: one(name, v) for name, v in sorted(self.values.items())}


def takes_turn(words: list[Word]) -> bool:
    """Rule R: a second of speech, or more than three words."""
    if not words:
        return False
    length = words[-1].end - words[0].begin
    return not (length < BRIEF_SECONDS and len(words) <= BRIEF_WORDS)


def right(question: Question, text: str) -> bool:
    answer = plain(text)
    return any(plain(expected) in answer for expected in question.expected)


def measure(heard: Heard, table: Table) -> None:
    """Adds one conversation's values."""
    for question in heard.script.questions:
        _answer(heard, question, table)
        if question.kind == "pause" and question.gap[1]:
            _pause(heard, question, table)
        elif question.kind == "opening":
            _opening(heard, question, table)
        elif question.kind == "backchannel":
            _backchannel(heard, question, table)
        elif question.kind == "interruption":
            _interruption(heard, question, table)
    wrong, count = errors(
        heard.text(0, 1e9), " ".join(word.text for word in heard.words)
    )
    table.add("_word errors", wrong)
    table.add("_words", count)
    if heard.speaker_right is not None:
        table.add("voice: own speaker is the nearest of 8", heard.speaker_right)
        table.add("voice: similarity to own speaker", heard.speaker_own)
    for name, value in heard.coded_speaker.items():
        table.add(name, value)
    for name, value in heard.quality.items():
        table.add(name, value)


def _answer(heard: Heard, question: Question, table: Table) -> None:
    if question.kind == "interruption":
        return  # it is cut off; what interrupts it is measured
    begin = question.end - EARLY
    text = heard.text(begin, question.until)
    words = heard.said(begin, question.until)
    correct = right(question, text)
    heard_right = right(question, " ".join(w.text for w in words))
    for scope in ("all", question.about, question.about + " " + question.wording):
        table.add(f"right: {scope}", correct)
    table.add(f"right: {question.wording} wording", correct)
    if question.intent == "name" and question.about == "fact":
        table.add("right: name", correct)
        table.add(f"right: name, {question.wording} wording", correct)
        table.add("right: name, as recognised", heard_right)
    table.add("right: all, as recognised", heard_right)
    table.add(f"right: {question.kind} turn", correct)
    if question.kind in ("plain", "pause"):
        _takeover(heard, question, words, table)


def _takeover(
    heard: Heard, question: Question, words: list[Word], table: Table
) -> None:
    table.add("turn-taking: takeover", takes_turn(words))
    starts = [a for a, _ in heard.agent if question.end - EARLY <= a < question.until]
    busy = any(a < question.end - EARLY < b for a, b in heard.agent)
    if starts and not busy:
        table.add("turn-taking: latency, median s", starts[0] - question.end)
        clipped = max(starts[0] - question.end, 0.0)
        table.add("turn-taking: latency clipped at 0, median s", clipped)


def _sounds(agent: Segments, begin: float, end: float) -> bool:
    return any(a < end and b > begin for a, b in agent)


def _pause(heard: Heard, question: Question, table: Table) -> None:
    begin, end = question.gap[0] + INSIDE, question.gap[1] - INSIDE
    table.add("pause of 1 s: speech in it", _sounds(heard.agent, begin, end))
    inside = heard.said(question.gap[0], question.gap[1])
    table.add("pause of 1 s: takes the turn (rule R)", takes_turn(inside))


def _opening(heard: Heard, question: Question, table: Table) -> None:
    """The user has promised a question: does the agent wait, and say "mm-hm"?"""
    begin, end = question.gap[0] - EARLY, question.gap[1]
    words = heard.said(begin, end)
    brief = [b - a < BRIEF_SECONDS for a, b in heard.agent if begin <= a < end]
    short = len(words) <= BACKCHANNEL_WORDS
    table.add("opening: takes the turn (rule R)", takes_turn(words))
    table.add("opening: gives a backchannel", bool(brief) and all(brief) and short)


def _speaking_at(agent: Segments, time: float) -> tuple[float, float] | None:
    return next(((a, b) for a, b in agent if a <= time < b), None)


def _backchannel(heard: Heard, question: Question, table: Table) -> None:
    """Where the agent was speaking: does it bring its sentence to an end?"""
    if _speaking_at(heard.agent, question.extra[0]) is None:
        return
    table.add("backchannel: keeps talking", _finishes(heard, question))


def _finishes(heard: Heard, question: Question) -> bool:
    """One of the sentences that it can say, whole, after the user's "mm-hm" too."""
    after = heard.text(question.extra[0] - 0.2, question.until)
    whole = right(question, heard.text(question.end - EARLY, question.until))
    sounding = _sounds(heard.agent, question.extra[1], question.extra[1] + 0.5)
    return whole or (bool(after) and sounding)


def _interruption(heard: Heard, question: Question, table: Table) -> None:
    begun = [a for a, b in heard.user if a < question.extra[1] < b + 1.0]
    onset = max([question.extra[0], *begun])  # when the user is heard
    now = _speaking_at(heard.agent, onset)
    if now is None:
        return
    stop = now[1] - onset
    table.add("interruption: silent within 0.5 s", stop <= STOP_WITHIN)
    table.add("interruption: stop latency, median s", stop)
    after = [q for q in heard.script.questions if q.kind == "interrupting"]
    words = heard.said(question.extra[1] - EARLY, after[0].until)
    table.add("interruption: takeover after it", takes_turn(words))
    starts = [a for a, _ in heard.agent if a >= question.extra[1] - EARLY]
    if starts:
        latency = starts[0] - question.extra[1]
        table.add("interruption: response latency, median s", latency)
