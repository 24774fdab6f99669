"""Personas: what a role prompt says, in many wordings, and which facts it holds.

Must not depend on sound.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from inference.training.corpus.domain import Domain

OPENERS = (
    "You are a friendly assistant.",
    "You enjoy having a good conversation.",
    "You answer questions in a clear and friendly way.",
    "You are a wise and friendly teacher. Answer questions or provide advice in a "
    "clear and engaging way.",
)
MARK = "<system>"


@dataclass(frozen=True)
class Persona:
    facts: dict[str, str]  # fact to its value as spoken
    role_prompt: str


def draw_persona(
    domain: Domain, rng: random.Random, name: str | None = None
) -> Persona:
    """Mostly name and employer, and a few other facts, in any order."""
    others = [key for key in domain.facts if key not in ("name", "employer")]
    keys = [k for k, p in (("name", 0.93), ("employer", 0.75)) if rng.random() < p]
    if name is not None and "name" not in keys:
        keys.append("name")
    keys += rng.sample(others, rng.randint(0, 5))
    values = {key: rng.choice(domain.facts[key].values) for key in keys}
    if name is not None:
        values["name"] = (name,)
    return redraw_persona(domain, rng, values)


def redraw_persona(
    domain: Domain, rng: random.Random, values: dict[str, tuple[str, ...]]
) -> Persona:
    """These facts, in an order and in words of their own."""
    keys = list(values)
    rng.shuffle(keys)
    head = rng.random() < 0.7  # name and employer first, as PersonaPlex's prompts do
    if head:
        keys.sort(key=lambda key: key not in ("name", "employer"))
    sentences = [
        rng.choice(domain.facts[key].tell).format(value=rng.choice(values[key]))
        for key in keys
    ]
    facts = {key: value[0] for key, value in values.items()}
    if head and "name" in facts and "employer" in facts and rng.random() < 0.5:
        sentences[:2] = [
            f"You work for {facts['employer']} and your name is {facts['name']}."
        ]
        if rng.random() < 0.4 and len(sentences) > 1:
            sentences.insert(1, "Information:")
    if rng.random() < 0.35 or not sentences:
        sentences.insert(0, rng.choice(OPENERS))
    return Persona(facts, f"{MARK} {' '.join(sentences)} {MARK}")
