"""Draws dialogues: who says which utterance when.

Decides turn-taking: gaps, pauses, interruptions after which the agent stops,
backchannels over which it continues and its own, long silences. Uses the corpus's index
and must not depend on sound.
"""

from __future__ import annotations

import random

from inference.network.config import PAD
from inference.timing import FRAME_SECONDS
from inference.training.corpus.dialogues import (
    NOTHING,
    Dialogue,
    Index,
    Placement,
    Spoken,
    Turn,
    Variant,
)
from inference.training.corpus.domain import Domain, Intent
from inference.training.corpus.personas import Persona, draw_persona
from inference.training.corpus.text_track import Encode, TextWriter, vary

DENSE = 100  # sentences of a voice that can ask everything in a dialogue
RATES = (0.84, 1.2)  # of the user's sound: another pitch and size of throat
# From an interruption's onset to the agent's silence, seconds. A listener hears it a
# good fifth of a second later: a frame of delay, a fade, and what was not sure at once.
STOPS = (0.16, 0.22)
# Some speak on for a while, and learn in every frame of it that they should not: else,
# one that missed the moment takes its own speech for a sign of no interruption.
LATE, LATER = 0.4, (0.1, 0.8)
ALERT = 1.2  # seconds from the onset in which stopping or continuing is decided
INTERRUPTED, BACKCHANNELLED = 0.3, 0.2  # of the answers that are long enough
EARLIEST = 0.35  # seconds of an answer before somebody speaks over it
PAUSES = (0.3, 1.3)  # within a question, seconds
OPENED = 0.18  # of the questions have something before them that promises them
ENCOURAGED = 0.5  # of those promises get an "mm-hm" from the agent, while it waits
# Backchannels that begin questions, too: only what follows shows what they are.
DOUBTFUL = ("Okay.", "I see.")
MAIN_WORDINGS = 0.5  # of the questions; the others come from the further wordings


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
        self.domain, self.index = domain, index
        self.rng = random.Random(seed)
        self.held_out = held_out
        self.writer = TextWriter(encode)
        self.dense = [v for v, texts in index.users.items() if len(texts) >= DENSE]
        names = list(self.index.voices)
        # A voice with few sentences would say those too often.
        self.weights = [len(self.index.voices[v]) ** 0.7 for v in names]
        self.names = names

    def draw(self, frames: int) -> Dialogue:
        rng = self.rng
        voice = rng.choices(self.names, self.weights)[0]
        own = self.dense and rng.random() < 0.35
        user = rng.choice(self.dense) if own else ""
        self.said = self.index.agents[voice]
        self.user_voice = user
        self.rate = rng.uniform(*RATES) if rng.random() < 0.8 else 1.0
        persona, greeting = self._persona()
        self.made = Dialogue(persona, voice, user, frames)
        self.made.text = [PAD] * frames
        self.made.heard = [NOTHING] * frames
        self.made.alert = [False] * frames
        self.made.halt = [False] * frames
        self.length = frames * FRAME_SECONDS
        self.about = ("", "")
        self.silent_from = 0.0  # the agent
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
        return vary(made, self.domain, self.rng, self.writer)

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
        if draw < OPENED:
            now = self._opening(now)
            kind += "+pause"
        asked_from = now
        now = self._ask(question, now, split=OPENED < draw < OPENED + 0.15)
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
        if draw < INTERRUPTED and entry.seconds > 1.3:
            onset = start + rng.uniform(EARLIEST, 0.8 * entry.seconds)
            due = stop = onset + rng.uniform(*STOPS)
            if rng.random() < LATE:
                stop = min(due + rng.uniform(*LATER), finish)
                self._mark(self.made.halt, due, stop)
            turn.kind += "+interrupted"
            turn.answer_end = min(stop, finish)
            self._keep(turn)
            self.about = about
            self._agent(answer, start, stop)
            self._mark(self.made.alert, onset, onset + ALERT)
            if rng.random() < 0.35:
                onset = self._word(self.domain.interrupts, onset) + rng.uniform(
                    0.1, 0.4
                )
            return self._exchange(onset)
        self._keep(turn)
        self.about = about
        self._agent(answer, start)
        if draw > 1 - BACKCHANNELLED and entry.seconds > 1.2:
            turn.kind += "+backchannel"
            onset = start + rng.uniform(EARLIEST, 0.7 * entry.seconds)
            self._word((*self.domain.backchannels, *DOUBTFUL), onset)
            self._mark(self.made.alert, onset, onset + ALERT)
        return finish

    def _mark(self, track: list[bool], begin: float, end: float) -> None:
        """The frames that lie in that time for the most part."""
        first = round(begin / FRAME_SECONDS)
        last = min(round(end / FRAME_SECONDS), self.made.frames)
        track[first:last] = [True] * (last - first)

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
        if draw < 0.69:
            return domain.unknown, self._known(domain.unknown.say), ""
        intent = rng.choice(list(domain.talk.values()))
        return intent, self._known(intent.say), ""

    def _known(self, texts: tuple[str, ...] | list[str]) -> str | None:
        sayable = [text for text in texts if text in self.said]
        return self.rng.choice(sayable) if sayable else None

    def _question(self, intent: Intent) -> int | None:
        wordings = [intent.held_out] if self.held_out else list(intent.trained)
        if not self.held_out and self.rng.random() > MAIN_WORDINGS:
            wordings = [w for w in intent.more if self._heard(w)] or wordings
        wordings = [w for w in wordings if self._heard(w)]
        if not wordings:
            return None
        return self.rng.choice(self._heard(self.rng.choice(wordings)))

    def _heard(self, text: str) -> list[int]:
        own = self.index.users[self.user_voice].get(text) if self.user_voice else None
        return own or self.index.asked.get(text, [])

    def _pick(self, text: str) -> int:
        return self.rng.choice(self.said[text])

    def _opening(self, now: float) -> float:
        """The user promises a question; returns when it begins."""
        rng = self.rng
        texts = self.domain.pauses if rng.random() < 0.5 else self.domain.more_pauses
        end = self._word(texts, now)
        encouragement = self._known(self.domain.agent_backchannels)
        free = now < end and self.silent_from < end
        if encouragement is None or not free or rng.random() > ENCOURAGED:
            return end + rng.uniform(0.35, 1.5)
        self.about = ("", "")
        said = self._agent(encouragement, end + rng.uniform(0.25, 0.5))
        return said + rng.uniform(0.05, 0.9)

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
        pieces = self.writer.pieces(entry.text)
        cut = len(words)
        shift = 0.0
        if split and len(words) >= 4 and len(pieces) == len(words):
            cut = self.rng.randint(2, len(words) - 1)
            edge = (words[cut - 1][1] + words[cut][0]) / 2
            shift = self.rng.uniform(*PAUSES)
            later = now + edge + shift
            self._place(Placement(number, True, now, 0, edge, 0.03, rate))
            self._place(Placement(number, True, later, edge, seconds, 0.03, rate))
        else:
            self._place(Placement(number, True, now, 0, seconds, 0.005, rate))
        if len(pieces) == len(words):
            for i, (ids, (_, end)) in enumerate(zip(pieces, words, strict=True)):
                at = now + end + (shift if i >= cut else 0)
                frame = int(at / FRAME_SECONDS) + 1
                self.writer.write(self.made.heard, ids, frame, NOTHING)
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
        pieces = self.writer.pieces(text)
        if len(pieces) == len(words):
            self.writer.speak(self.made.text, pieces, words, now, end)
        self.silent_from = now + end
        return self.silent_from

    def _place(self, placement: Placement) -> None:
        if placement.at < self.length and placement.end > placement.begin:
            self.made.placements.append(placement)
