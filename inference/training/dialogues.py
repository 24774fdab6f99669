"""Dialogues as plans: who says which utterance when, and the tokens of the text.

Owns turn-taking: gaps, pauses, interruptions after which the agent stops,
backchannels over which it goes on, long silences. Knows the bank's index, no sound.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.network.config import PAD
from inference.timing import FRAME_SECONDS
from inference.training.bank import Entry
from inference.training.domain import Domain, Intent
from inference.training.personas import Persona, draw_persona, redraw_persona

TEXT_LEAD = 2  # frames by which a word's text comes before its sound
NOTHING = -100  # no target for the listening head
Encode = Callable[[str], list[int]]


@dataclass
class Placement:
    """A piece of an utterance on one channel, in seconds."""

    entry: int  # index into the bank
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
    """The bank by who says what."""

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


class Planner:
    """Draws one dialogue after the other."""

    def __init__(
        self,
        domain: Domain,
        index: Index,
        encode: Encode,
        seed: int,
        held_out: bool = False,
    ) -> None:
        self.domain, self.index, self.encode = domain, index, encode
        self.rng = random.Random(seed)
        self.held_out = held_out
        self.pieces: dict[str, list[list[int]]] = {}
        names = list(self.index.voices)
        # A voice with few sentences would say those too often.
        self.weights = [len(self.index.voices[v]) ** 0.7 for v in names]
        self.names = names

    def draw(self, frames: int) -> Dialogue:
        rng = self.rng
        voice = rng.choices(self.names, self.weights)[0]
        dense = [v for v, t in self.index.users.items() if len(t) >= 100]
        user = rng.choice(dense) if dense and rng.random() < 0.6 else ""
        self.said = self.index.agents[voice]
        self.user_voice = user
        self.rate = rng.uniform(0.9, 1.12) if rng.random() < 0.6 else 1.0
        persona, greeting = self._persona()
        self.made = Dialogue(persona, voice, user, frames)
        self.made.text = [PAD] * frames
        self.made.heard = [NOTHING] * frames
        self.length = frames * FRAME_SECONDS
        self.about = ("", "")
        now = rng.uniform(0.25, 0.8)
        if greeting is not None:
            now = self._agent(greeting, now)
        else:
            now = rng.uniform(0.1, 1.0)
        while now < self.length - 1.0:
            gap = rng.uniform(2, 6) if rng.random() < 0.1 else rng.uniform(0.25, 1.4)
            now = self._exchange(now + gap)
        return self.made

    def vary(self, made: Dialogue) -> Variant:
        """Other values for the facts: reading the role prompt can't be replaced by
        remembering the dialogue."""
        facts = {
            key: self.rng.choice(self.domain.facts[key].values)
            for key in made.persona.facts
        }
        other = redraw_persona(self.domain, self.rng, facts)
        spoken = {key: value[0] for key, value in facts.items()}
        text = [PAD] * made.frames
        changed = [False] * made.frames
        for said in made.spoken:
            self._respeak(said, made.persona.facts, spoken, text, changed)
        return Variant(other.role_prompt, text, changed)

    def _respeak(
        self,
        said: Spoken,
        old: dict[str, str],
        new: dict[str, str],
        text: list[int],
        changed: list[bool],
    ) -> None:
        if not said.words:
            return
        words, times = said.text, said.words
        keys = [said.fact] if said.fact else []
        if not keys and "this is" in words:
            keys = [key for key in ("name", "employer") if old.get(key, "\0") in words]
        result = words
        for key in keys:
            result = result.replace(old[key], new[key])
        pieces = self._pieces(result)
        if result != words:
            first = int(said.now / FRAME_SECONDS)
            for frame in range(first, int((said.now + said.end) / FRAME_SECONDS) + 1):
                if frame < len(changed):
                    changed[frame] = True
            # As many words as there are now, over the time there was.
            span = times[-1][1] - times[0][0]
            each = span / len(pieces)
            times = [
                (times[0][0] + i * each, times[0][0] + (i + 1) * each)
                for i in range(len(pieces))
            ]
        if len(pieces) != len(times):
            return
        earliest = 0
        for ids, (begin, _) in zip(pieces, times, strict=True):
            if begin > said.end:
                break
            frame = int((said.now + begin) / FRAME_SECONDS) - TEXT_LEAD
            earliest = self._write(text, ids, max(frame, earliest), PAD)

    def _persona(self) -> tuple[Persona, str | None]:
        """With the greeting's name and employer, where the greeting holds them."""
        rng, domain = self.rng, self.domain
        persona = draw_persona(domain, rng)
        if rng.random() > 0.85:
            return persona, None
        if {"name", "employer"} <= set(persona.facts):
            wanted = domain.greeting.format(
                name=persona.facts["name"], employer=persona.facts["employer"]
            )
            if wanted in self.said:
                return persona, wanted
        plain = [text for text in domain.plain_greetings if text in self.said]
        return persona, rng.choice(plain) if plain else None

    def _exchange(self, now: float) -> float:
        """A question from ``now`` and its answer; returns when the answer ends."""
        rng = self.rng
        for _ in range(20):
            intent, answer, value = self._choose()
            question = self._question(intent)
            if question is not None and answer is not None:
                break
        else:
            return self.length  # this voice has nothing more to say
        kind = intent.key if intent.key == "unknown" else ("fact" if value else "talk")
        draw = rng.random()
        if draw < 0.12:
            now = self._pause(now)
            kind += "+pause"
        asked_from = now
        now = self._ask(question, now, split=0.12 < draw < 0.27)
        return self._answer(kind, question, answer, value, asked_from, now)

    def _answer(
        self,
        kind: str,
        question: int,
        answer: str,
        value: str,
        begun: float,
        end: float,
    ) -> float:
        rng = self.rng
        about = (self.fact, value)
        start = end + rng.uniform(0.2, 0.45)
        entry = self.index.entries[self._pick(answer)]
        finish = start + entry.seconds
        text = self.index.entries[question].text
        turn = Turn(kind, text, answer, value, end, start, finish)
        draw = rng.random()
        if draw < 0.2 and entry.seconds > 1.3:
            onset = start + rng.uniform(0.35, 0.8) * entry.seconds
            stop = onset + rng.uniform(0.24, 0.44)
            turn.kind += "+interrupted"
            turn.answer_end = min(stop, finish)
            self._keep(turn)
            self.about = about
            self._agent(answer, start, stop)
            if rng.random() < 0.35:
                onset = self._word(self.domain.interrupts, onset) + rng.uniform(
                    0.1, 0.4
                )
            return self._exchange(onset)
        self._keep(turn)
        self.about = about
        self._agent(answer, start)
        if draw > 0.85 and entry.seconds > 1.2:
            turn.kind += "+backchannel"
            self._word(
                self.domain.backchannels, start + rng.uniform(0.3, 0.7) * entry.seconds
            )
        return finish

    def _keep(self, turn: Turn) -> None:
        if turn.answer_at < self.length:
            self.made.turns.append(turn)

    def _choose(self) -> tuple[Intent, str | None, str]:
        rng, domain = self.rng, self.domain
        draw = rng.random()
        facts = self.made.persona.facts
        self.fact = ""
        if draw < 0.5 and facts:
            key = rng.choice([*facts, *(k for k in ("name",) if k in facts)])
            self.fact = key
            intent = domain.facts[key]
            texts = [template.format(value=facts[key]) for template in intent.say]
            return intent, self._known(texts), facts[key]
        if draw < 0.62:
            missing = [k for k in domain.facts if k not in facts]
            intent = domain.facts[rng.choice(missing)]
            return intent, self._known(domain.unknown.say), ""
        if draw < 0.66:
            return domain.unknown, self._known(domain.unknown.say), ""
        intent = rng.choice(list(domain.talk.values()))
        return intent, self._known(intent.say), ""

    def _known(self, texts: tuple[str, ...] | list[str]) -> str | None:
        sayable = [text for text in texts if text in self.said]
        return self.rng.choice(sayable) if sayable else None

    def _question(self, intent: Intent) -> int | None:
        wordings = [intent.held_out] if self.held_out else list(intent.trained)
        wordings = [w for w in wordings if self._heard(w)]
        return (
            self.rng.choice(self._heard(self.rng.choice(wordings)))
            if wordings
            else None
        )

    def _heard(self, text: str) -> list[int]:
        own = self.index.users[self.user_voice].get(text) if self.user_voice else None
        return own or self.index.asked.get(text, [])

    def _pick(self, text: str) -> int:
        return self.rng.choice(self.said[text])

    def _pause(self, now: float) -> float:
        return self._word(self.domain.pauses, now) + self.rng.uniform(0.35, 1.3)

    def _word(self, texts: tuple[str, ...], now: float) -> float:
        known = [number for text in texts for number in self._heard(text)]
        if not known:
            return now
        return self._ask(self.rng.choice(known), now, split=False)

    def _ask(self, number: int, now: float, split: bool) -> float:
        """Places the user's utterance, perhaps with a pause between two words."""
        entry, rate = self.index.entries[number], self.rate
        words = [(begin / rate, end / rate) for begin, end in entry.words]
        seconds = entry.seconds / rate
        pieces = self._pieces(entry.text)
        cut = len(words)
        shift = 0.0
        if split and len(words) >= 4 and len(pieces) == len(words):
            cut = self.rng.randint(2, len(words) - 1)
            edge = (words[cut - 1][1] + words[cut][0]) / 2
            shift = self.rng.uniform(0.3, 1.0)
            later = now + edge + shift
            self._place(Placement(number, True, now, 0, edge, 0.03, rate))
            self._place(Placement(number, True, later, edge, seconds, 0.03, rate))
        else:
            self._place(Placement(number, True, now, 0, seconds, 0.005, rate))
        if len(pieces) == len(words):
            for i, (ids, (_, end)) in enumerate(zip(pieces, words, strict=True)):
                at = now + end + (shift if i >= cut else 0)
                self._write(self.made.heard, ids, int(at / FRAME_SECONDS) + 1, NOTHING)
        return now + shift + seconds

    def _agent(self, text: str, now: float, stop: float = 1e9) -> float:
        number = self._pick(text)
        entry = self.index.entries[number]
        end = min(entry.seconds, stop - now)
        fact, value = self.about
        known = fact if value and value in text else ""
        words = [(begin, finish) for begin, finish in entry.words]
        self.made.spoken.append(Spoken(text, value, known, words, now, end))
        fade = 0.05 if end < entry.seconds else 0.005
        self._place(Placement(number, False, now, 0, end, fade))
        pieces = self._pieces(text)
        if len(pieces) == len(entry.words):
            earliest = 0
            for ids, (begin, _) in zip(pieces, entry.words, strict=True):
                if begin > end:
                    break
                frame = int((now + begin) / FRAME_SECONDS) - TEXT_LEAD
                earliest = self._write(self.made.text, ids, max(frame, earliest), PAD)
        return now + end

    def _write(self, track: list[int], ids: list[int], frame: int, free: int) -> int:
        """Tokens one after another from ``frame`` on; returns the next free one."""
        frame = max(frame, 0)
        for token in ids:
            while frame < len(track) and track[frame] != free:
                frame += 1
            if frame < len(track):
                track[frame] = token
            frame += 1
        return frame

    def _place(self, placement: Placement) -> None:
        if placement.at < self.length and placement.end > placement.begin:
            self.made.placements.append(placement)

    def _pieces(self, text: str) -> list[list[int]]:
        """The tokens of each word."""
        if text not in self.pieces:
            self.pieces[text] = [self.encode(word) for word in text.split()]
        return self.pieces[text]
