"""Which sentences are spoken by which voice: the list that speech is made from.

Knows text and voices, no sound. Same seed, same list.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from inference.training.domain import (
    AGENT_VOICES,
    HELD_OUT_VOICES,
    MIXED_VOICES,
    USER_VOICES,
    Domain,
)


@dataclass(frozen=True)
class Utterance:
    text: str
    voice: str
    speed: float  # of the synthesiser, 1 is its own
    side: str  # "agent", "user", or "test": a voice or wording never trained on


def user_texts(domain: Domain) -> list[str]:
    """What user voices say in training; held-out wordings are not in it."""
    texts = [text for intent in domain.intents for text in intent.trained]
    texts += [*domain.unknown.trained, *domain.backchannels]
    texts += [*domain.pauses, *domain.interrupts]
    return list(dict.fromkeys(texts))


def held_out_texts(domain: Domain) -> list[str]:
    return [i.held_out for i in domain.intents] + [domain.unknown.held_out]


def fixed_agent_texts(domain: Domain) -> list[str]:
    """Answers without a value from the role prompt."""
    texts = [text for intent in domain.talk.values() for text in intent.say]
    texts += [*domain.unknown.say, *domain.plain_greetings, *domain.go_ahead]
    texts += [*domain.agent_backchannels, *domain.samples]
    return list(dict.fromkeys(texts))


def fact_texts(domain: Domain) -> list[str]:
    return list(
        dict.fromkeys(
            template.format(value=value[0])
            for intent in domain.facts.values()
            for template in intent.say
            for value in intent.values
        )
    )


def plan_utterances(domain: Domain, seed: int, voices_per_text: int) -> list[Utterance]:
    """Training and test utterances in random order, so that any part of them is like
    the whole."""
    rng = random.Random(seed)
    planned = _agent(domain, rng) + _user(domain, rng, voices_per_text)
    planned += _test(domain, rng)
    rng.shuffle(planned)
    return planned


def _agent(domain: Domain, rng: random.Random) -> list[Utterance]:
    planned = []
    for voice in AGENT_VOICES:
        texts = fixed_agent_texts(domain) + fact_texts(domain)
        for name in domain.facts["name"].values:
            employer = rng.choice(domain.facts["employer"].values)[0]
            texts.append(domain.greeting.format(name=name[0], employer=employer))
        planned += [
            Utterance(text, voice, round(rng.uniform(0.95, 1.1), 2), "agent")
            for text in texts
        ]
    return planned


def _user(domain: Domain, rng: random.Random, per_text: int) -> list[Utterance]:
    voices = [*USER_VOICES, *MIXED_VOICES]
    return [
        Utterance(text, voice, round(rng.uniform(0.85, 1.25), 2), "user")
        for text in user_texts(domain)
        for voice in rng.sample(voices, min(per_text, len(voices)))
    ]


def _test(domain: Domain, rng: random.Random) -> list[Utterance]:
    """Two unheard voices for each trained wording's first and each unheard one."""
    texts = [intent.ask[0] for intent in domain.intents] + held_out_texts(domain)
    texts += [*domain.backchannels, *domain.pauses, *domain.interrupts]
    return [
        Utterance(text, voice, 1.0, "test")
        for text in dict.fromkeys(texts)
        for voice in rng.sample(HELD_OUT_VOICES, 2)
    ]
