"""What a planned dialogue consists of, and the corpus's index by who says what.

Must not depend on sound; ``planner.py`` draws the dialogues.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from inference.training.corpus.personas import Persona
from inference.training.corpus.speech_corpus import Entry

NOTHING = -100  # no target for the listening head


@dataclass
class Placement:
    """A piece of an utterance on one channel, in seconds."""

    entry: int  # index into the corpus
    user: bool
    at: float
    begin: float = 0.0  # within the utterance
    end: float = 0.0
    fade: float = 0.005
    rate: float = 1.0  # source samples per sample: another pitch for the user


@dataclass
class Turn:
    """What was asked when, and how it should be answered; for the evaluation."""

    kind: str  # "talk", "fact", "unknown"; "+interrupt", "+pause", "+backchannel"
    question: str
    answer: str
    value: str
    user_end: float
    answer_at: float
    answer_end: float


@dataclass
class Dialogue:
    persona: Persona
    agent_voice: str
    user_voice: str
    frames: int
    placements: list[Placement] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    text: list[int] = field(default_factory=list)  # [frames], PAD where nothing
    heard: list[int] = field(default_factory=list)  # [frames], the user's words
    # [frames], where the user has just begun to speak over the agent
    alert: list[bool] = field(default_factory=list)
    # [frames], where the agent speaks on and should not
    halt: list[bool] = field(default_factory=list)
    spoken: list[Spoken] = field(default_factory=list)


@dataclass
class Spoken:
    """What the agent said, so that its text can be written again with other values."""

    text: str
    value: str  # the fact in it, if any
    fact: str
    words: list[tuple[float, float]]
    now: float
    end: float


@dataclass
class Variant:
    """The same dialogue with other facts: only its text is right, not its sound."""

    role_prompt: str
    text: list[int]
    changed: list[bool]  # [frames], where the sound says something else


class Index:
    """The corpus by who says what."""

    def __init__(
        self, entries: list[Entry], sides: tuple[str, ...] = ("user",)
    ) -> None:
        self.entries = entries
        self.agents: dict[str, dict[str, list[int]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self.users: dict[str, dict[str, list[int]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self.asked: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(entries):
            if entry.side == "agent":
                self.agents[entry.voice][entry.text].append(number)
            if entry.side in sides:
                self.users[entry.voice][entry.text].append(number)
                self.asked[entry.text].append(number)
        # Voices that can hold up a whole dialogue, and how likely each is.
        self.voices = {v: t for v, t in self.agents.items() if len(t) >= 60}
