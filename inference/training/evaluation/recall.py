"""Does the model still know its persona when the window has slid past the prompt?

Asks for facts of the role prompt early in a conversation and again after more frames
than the context holds, with the prompt pinned and without.
"""

from __future__ import annotations

import random
from collections import defaultdict

import torch

from inference.engine.api import Sampling
from inference.loading.checkpoint import Model
from inference.prompts.voice_file import VoicePrompt
from inference.timing import FRAME_SAMPLES, FRAME_SECONDS
from inference.training.corpus.dialogues import Placement
from inference.training.corpus.domain import load_domain
from inference.training.corpus.mixing import mix
from inference.training.corpus.personas import draw_persona
from inference.training.corpus.plans import USER, pieces
from inference.training.corpus.speech_corpus import SpeechCorpus
from inference.training.evaluation.measures import right
from inference.training.evaluation.scripts import Question, Script
from inference.training.evaluation.talks import talk

EARLY = (6.0, 13.0)
AFTER = 8.0  # seconds from the moment at which the last of the prompt has left
EVERY, ANSWER = 7.0, 6.0
TIMES = 3  # questions after that


def recall(
    model: Model,
    corpus: SpeechCorpus,
    voices: dict[str, VoicePrompt],
    conversations: int,
    sampling: Sampling,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Shares of right answers, each with its n."""
    slide = model.config.temporal.context * FRAME_SECONDS
    times = [*EARLY, *(slide + AFTER + EVERY * i for i in range(TIMES))]
    scripts = _scripts(corpus, list(voices), conversations, times, seed)
    samples = int((times[-1] + 2 * EVERY) / FRAME_SECONDS) * FRAME_SAMPLES
    spoken = pieces([s.placements for s in scripts], corpus.entries)
    sound = torch.from_numpy(corpus.pcm)
    users = mix(sound, spoken, conversations, 2, samples)[:, USER]
    shares: dict[str, list[float]] = defaultdict(list)
    for pinned in (False, True):
        name = "pinned" if pinned else "not pinned"
        for made in talk(model, scripts, users, voices, sampling, pinned, sounds=False):
            for question in made.script.questions:
                when = "after" if question.begin > slide else "before"
                text = _text(model, made.text.tolist(), question)
                shares[f"{when}, {name}"].append(float(right(question, text)))
    return {
        name: {"value": round(sum(v) / len(v), 3), "n": len(v)}
        for name, v in shares.items()
    }


def _text(model: Model, tokens: list[int], question: Question) -> str:
    first = int(question.end / FRAME_SECONDS) - 1
    last = int(question.until / FRAME_SECONDS)
    spoken = filter(model.tokenizer.is_spoken, tokens[first:last])
    return "".join(model.tokenizer.piece(token) for token in spoken)


def _scripts(
    corpus: SpeechCorpus, voices: list[str], count: int, times: list[float], seed: int
) -> list[Script]:
    """Only questions on the persona's facts, in trained wordings, one user each."""
    rng, domain = random.Random(seed), load_domain()
    users: dict[str, dict[str, int]] = defaultdict(dict)
    for number, entry in enumerate(corpus.entries):
        users[entry.voice][entry.text] = number
    names, scripts = sorted(users), []
    for number in range(count):
        said = users[names[number % len(names)]]
        name = rng.choice(domain.facts["name"].values)[0]
        persona = draw_persona(domain, rng, name)
        script = Script("recall", persona, voices[number % len(voices)])
        known = [
            (key, text)
            for key in persona.facts
            for text in domain.facts[key].trained
            if text in said
        ]
        for at in times:
            key, text = rng.choice(known)
            entry = corpus.entries[said[text]]
            script.placements.append(Placement(said[text], True, at, 0, entry.seconds))
            end = at + entry.seconds
            expected = [persona.facts[key]]
            script.questions.append(
                Question(
                    *("plain", key, text, entry.voice, "trained", "fact", expected),
                    *(at, end, at + ANSWER),
                )
            )
        scripts.append(script)
    return scripts
