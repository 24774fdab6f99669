"""Which sentences are spoken by which voice: the list that speech is made from.

The same seed gives the same list. Must not depend on sound.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from inference.training.corpus.domain import (
    AGENT_VOICES,
    HELD_OUT_VOICES,
    USER_VOICES,
    Domain,
)

SPEEDS = (0.9, 1.0, 1.1)  # of the evaluation's users


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


def further_texts(domain: Domain) -> list[str]:
    """More wordings of what users ask and begin with; nothing else is learnt from
    them."""
    intents = [*domain.intents, domain.unknown]
    known = {*user_texts(domain), *held_out_texts(domain)}
    more = [*domain.more_pauses, *(text for intent in intents for text in intent.more)]
    texts = [text for text in more if text not in known]
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
    """Hardly two in the same voice; the main wordings twice as often as the others."""
    texts = user_texts(domain) * (2 * per_text) + further_texts(domain) * per_text
    return [
        Utterance(text, draw_voice(rng), round(rng.uniform(0.8, 1.3), 2), "user")
        for text in texts
    ]


def draw_voice(rng: random.Random) -> str:
    """One of the trained voices or two mixed, some with the prosody of a third."""
    first, second = rng.sample((*USER_VOICES, *AGENT_VOICES), 2)
    share = round(rng.uniform(0.2, 0.8), 2)
    mixed = f"{first}:{share}+{second}:{1 - share:.2f}"
    voice = mixed if rng.random() < 1 / 3 else first
    return f"{voice}/{rng.choice(USER_VOICES)}" if rng.random() < 0.4 else voice


def _test(domain: Domain, rng: random.Random) -> list[Utterance]:
    """Each unheard voice: of each question a trained wording and the unheard one."""
    short = [*domain.backchannels, *domain.pauses, *domain.interrupts]
    planned = []
    for voice in HELD_OUT_VOICES:
        asked = [rng.choice(intent.trained) for intent in domain.intents]
        texts = dict.fromkeys([*asked, *held_out_texts(domain), *short])
        planned += [Utterance(t, voice, rng.choice(SPEEDS), "test") for t in texts]
    return planned
