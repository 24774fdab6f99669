"""Scripted users: what is asked when, with pauses, backchannels and interruptions.

Fixes the times of an evaluation's conversation and what a right answer is, from the
domain's text and the corpus's index. Must not depend on sound or a model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.training.corpus.dialogues import Placement
from inference.training.corpus.domain import Domain, Intent
from inference.training.corpus.personas import Persona, draw_persona
from inference.training.corpus.speech_corpus import Entry

Turns = Sequence[tuple[str, float]]  # kind of each and where it begins, seconds

PAUSE = 1.0  # seconds inside a question
REACTION = 1.0  # from a question's end to the user's "mm-hm" or interruption
LONG_ANSWER = 7  # words, so that it still speaks when the user is heard
# The greeting is over by the first.
TURNS = (
    ("plain", 5.0),
    ("plain", 11.0),
    ("pause", 17.0),
    ("backchannel", 24.5),
    ("interruption", 32.0),
)
SECONDS = 42.0
# With recordings that are longer than a question.
LONG_TURNS = (("plain", 5.0), ("plain", 15.0), ("plain", 25.0))
# Of recordings without the times of words none can be parted by a pause.
WHOLE_TURNS = tuple(("plain" if kind == "pause" else kind, at) for kind, at in TURNS)
# Something that promises a question, time for an "mm-hm", the question.
OPENING_TURNS = (("opening", 5.0), ("opening", 13.5), ("opening", 22.0))
OPENING_PAUSE = 1.5
OPENING_SECONDS = 30.5


@dataclass
class Question:
    """Seconds from the conversation's beginning."""

    kind: str  # of TURNS, or "interrupting"
    intent: str
    text: str
    voice: str
    wording: str  # "trained" or "unheard"
    about: str  # "fact", "talk", "unknown"
    expected: list[str]  # any of these in the answer is right
    begin: float
    end: float
    until: float  # what the agent says before that is the answer
    gap: tuple[float, float] = (0.0, 0.0)  # the pause inside it or before it
    extra: tuple[float, float] = (0.0, 0.0)  # the backchannel, or what interrupts


@dataclass
class Script:
    group: str  # of user voices
    persona: Persona
    voice: str  # of the agent
    questions: list[Question] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)


def numbers_by_voice(entries: list[Entry]) -> dict[str, list[int]]:
    """Of each voice, in order of their names, which entries are its own."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        numbers[entry.voice].append(number)
    return dict(sorted(numbers.items()))


class Writer:
    """Draws scripts whose user's utterances are in a corpus: those of ``numbers``, or
    all."""

    def __init__(
        self,
        domain: Domain,
        corpus: list[Entry],
        group: str,
        rng: random.Random,
        turns: Turns = TURNS,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.domain, self.group, self.rng, self.turns = domain, group, rng, turns
        self.numbers = range(len(corpus)) if numbers is None else numbers
        self.entries = entries = [corpus[number] for number in self.numbers]
        self.intents: dict[str, tuple[Intent, str]] = {}
        for intent in [*domain.intents, domain.unknown]:
            for text in (*intent.ask, *intent.more):
                held = text == intent.held_out
                self.intents[text] = (intent, "unheard" if held else "trained")
        self.said: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(entries):
            self.said[entry.text].append(number)
        # Of anything else the model should say that it doesn't know.
        other = {*domain.backchannels, *domain.pauses, *domain.interrupts}
        self.asked = [n for n, e in enumerate(entries) if e.text not in other]
        self.short = self._saying(domain.backchannels)
        self.openings = self._saying(domain.pauses)
        needed = {"backchannel": self.short, "opening": self.openings}
        for kind, found in needed.items():
            if not self.asked or (not found and kind in dict(turns)):
                raise SystemExit(f"{group}: the corpus holds no questions or {kind}s")

    def _saying(self, texts: Sequence[str]) -> list[int]:
        return [number for text in texts for number in self.said.get(text, [])]

    def draw(self, voice: str) -> Script:
        rng = self.rng
        name = rng.choice(self.domain.facts["name"].values)[0]
        self.script = Script(self.group, draw_persona(self.domain, rng, name), voice)
        ends = [begin for _, begin in self.turns[1:]] + [SECONDS]
        for (kind, begin), until in zip(self.turns, ends, strict=True):
            self._ask(kind, begin, until)
        return self.script

    def _ask(self, kind: str, begin: float, until: float) -> None:
        rng = self.rng
        gap = (0.0, 0.0)
        if kind == "opening":
            opening = rng.choice(self.openings)
            seconds = self.entries[opening].seconds
            self._place(opening, begin, 0, seconds)
            gap = (begin + seconds, begin + seconds + OPENING_PAUSE)
            begin = gap[1]
        number = self._choice(kind in ("backchannel", "interruption"))
        entry = self.entries[number]
        question = self._question(kind, entry, begin, begin + entry.seconds, until)
        question.gap = gap
        self.script.questions.append(question)
        if kind == "pause" and len(entry.words) >= 4:
            cut = len(entry.words) // 2
            edge = (entry.words[cut - 1][1] + entry.words[cut][0]) / 2
            self._place(number, begin, 0, edge)
            self._place(number, begin + edge + PAUSE, edge, entry.seconds)
            question.gap = (begin + edge, begin + edge + PAUSE)
            question.end += PAUSE
            return
        self._place(number, begin, 0, entry.seconds)
        at = question.end + REACTION
        if kind == "backchannel":
            other = rng.choice(self.short)
            question.extra = (at, at + self.entries[other].seconds)
            self._place(other, at, 0, self.entries[other].seconds)
        if kind == "interruption":
            other = self._choice(False)
            said = self.entries[other]
            question.extra = (at, at + said.seconds)
            question.until = at
            self._place(other, at, 0, said.seconds)
            self.script.questions.append(
                self._question("interrupting", said, at, at + said.seconds, until)
            )

    def _choice(self, long_answer: bool) -> int:
        """Half of the questions are on facts that the persona has."""
        facts = self.script.persona.facts
        numbers = self.asked
        if long_answer:
            numbers = [n for n in numbers if self._is_long(n)]
        elif self.rng.random() < 0.5:
            numbers = [
                n for n in numbers if self._intent(self.entries[n].text)[0].key in facts
            ]
        return self.rng.choice(numbers or self.asked)

    def _intent(self, text: str) -> tuple[Intent, str]:
        return self.intents.get(text, (self.domain.unknown, "unheard"))

    def _is_long(self, number: int) -> bool:
        intent, _ = self._intent(self.entries[number].text)
        answers = intent.say if intent.key in self.domain.talk else ()
        return min((len(a.split()) for a in answers), default=0) >= LONG_ANSWER

    def _question(
        self, kind: str, entry: Entry, begin: float, end: float, until: float
    ) -> Question:
        intent, wording = self._intent(entry.text)
        about, expected = right_answers(self.domain, intent, self.script.persona)
        return Question(
            kind,
            intent.key,
            entry.text,
            entry.voice,
            wording,
            about,
            expected,
            begin,
            end,
            until,
        )

    def _place(self, number: int, at: float, begin: float, end: float) -> None:
        own = self.numbers[number]
        self.script.placements.append(Placement(own, True, at, begin, end, 0.01))


def right_answers(
    domain: Domain, intent: Intent, persona: Persona
) -> tuple[str, list[str]]:
    """What the question is about, and texts of which one must be in the answer."""
    if intent.key in persona.facts:
        return "fact", [persona.facts[intent.key]]
    if intent.key in domain.talk:
        return "talk", list(intent.say)
    return "unknown", list(domain.unknown.say)
