"""Conversations that test a language model: scripted users, free-running agents.

All trials run at once as rows of one batch, by the model's streaming step. Scores
come from the agent's own text, sound is evaluated elsewhere (``scores.py``).
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inference.engine.api import Sampling
from inference.loading.filler_codes import find_filler_codes
from inference.network.config import FREE, PAD, TINY, USER
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.network.sampling import Sampler
from inference.network.timeline import rows_of_frames
from inference.prompts.persona import FillerCodes
from inference.prompts.prompt_text import SPACER_FRAMES
from inference.prompts.tokenizer import SPACE
from inference.timing import CODEBOOKS, FRAME_SAMPLES, FRAME_SECONDS, STREAMS
from inference.training.corpus.dialogues import Index, Placement
from inference.training.corpus.domain import Domain, Intent, load_domain
from inference.training.corpus.mixing import encode, mix
from inference.training.corpus.personas import Persona, draw_persona
from inference.training.corpus.plans import VOICE_FRAMES, pieces, voice_sample
from inference.training.corpus.speech_corpus import Entry
from inference.training.evaluation.scripts import right_answers

FIRST_QUESTION = 5.0  # seconds; the greeting is over by then
EVERY = 6.0
QUESTIONS = 4


@dataclass
class Asked:
    intent: str
    text: str
    voice: str
    wording: str  # "trained" or "held-out"
    expected: list[str]  # any of these in the answer is right
    kind: str  # "fact", "talk", "unknown"
    at: float
    end: float
    answer: str = ""
    right: bool = False
    latency: float = -1.0  # from the question's end to the answer's first text


@dataclass
class Trial:
    persona: Persona
    agent_voice: str
    side: str
    asked: list[Asked] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    text: str = ""


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z ]", " ", text.lower()).split())


def plan_trials(
    domain: Domain, index: Index, count: int, side: str, seed: int
) -> list[Trial]:
    rng = random.Random(seed)
    intents: dict[str, tuple[Intent, str]] = {}
    for intent in [*domain.intents, domain.unknown]:
        for text in intent.ask:
            held = text == intent.held_out
            intents[text] = (intent, "held-out" if held else "trained")
    spoken = [e for e in index.entries if e.side == side and e.text in intents]
    numbers = {id(entry): n for n, entry in enumerate(index.entries)}
    trials = []
    for _ in range(count):
        voice = rng.choice([v for v in index.voices])
        name = rng.choice(domain.facts["name"].values)[0]
        persona = draw_persona(domain, rng, name)
        trial = Trial(persona, voice, side)
        for turn in range(QUESTIONS):
            entry = _choice(rng, domain, spoken, intents, persona)
            intent, wording = intents[entry.text]
            at = FIRST_QUESTION + EVERY * turn
            kind, expected = right_answers(domain, intent, persona)
            trial.placements.append(
                Placement(numbers[id(entry)], True, at, 0, entry.seconds)
            )
            trial.asked.append(
                Asked(
                    intent.key,
                    entry.text,
                    entry.voice,
                    wording,
                    expected,
                    kind,
                    at,
                    at + entry.seconds,
                )
            )
        trials.append(trial)
    return trials


def _choice(
    rng: random.Random,
    domain: Domain,
    spoken: list[Entry],
    intents: dict[str, tuple[Intent, str]],
    persona: Persona,
) -> Entry:
    """Half of the questions are on facts that the persona has, if there are any."""
    if rng.random() < 0.5:
        own = [e for e in spoken if intents[e.text][0].key in persona.facts]
        if own:
            return rng.choice(own)
    return rng.choice(spoken)


def persona_rows(
    trial: Trial, codes: Tensor, ids: list[int], filler: FillerCodes
) -> tuple[Tensor, Tensor]:
    """The prompt as inference has it: voice codes [V, 8], then the role prompt."""
    frames = torch.cat(
        (
            filler.voice_frames(codes),
            filler.frames(SPACER_FRAMES),
            filler.frames(len(ids), torch.tensor(ids)),
            filler.frames(SPACER_FRAMES),
        )
    )
    return rows_of_frames(TINY, frames)


@torch.no_grad()
def run_trials(
    model: LanguageModel,
    codec: Mimi,
    corpus: Tensor,
    trials: list[Trial],
    index: Index,
    encode_text: object,
    sampling: Sampling,
) -> tuple[Tensor, Tensor]:
    """Text [B, F] and agent codes [B, F, 8] of all trials, free-running."""
    device = corpus.device
    count = len(trials)
    frames = int((FIRST_QUESTION + EVERY * QUESTIONS) / FRAME_SECONDS)
    spoken = pieces([t.placements for t in trials], index.entries)
    user = mix(corpus, spoken, count, 2, frames * FRAME_SAMPLES)[:, 1]
    users = encode(codec, user).long().transpose(1, 2)  # [B, F, 8]
    rng = random.Random(sampling.seed)
    samples = [voice_sample(rng, index, t.agent_voice, VOICE_FRAMES[1]) for t in trials]
    voice = mix(
        corpus,
        pieces(samples, index.entries),
        count,
        1,
        VOICE_FRAMES[1] * FRAME_SAMPLES,
    )
    voices = encode(codec, voice[:, 0]).long().transpose(1, 2).cpu()
    filler = find_filler_codes(TINY, codec)
    state = model.state(count)
    sampler = Sampler(count, TINY.text_cardinality, TINY.audio_cardinality, device)
    for index_of, trial in enumerate(trials):
        ids = encode_text(trial.persona.role_prompt)  # type: ignore[operator]
        kept = voices[index_of, : VOICE_FRAMES[1] - 10]
        rows, carry = persona_rows(trial, kept, ids, filler)
        model.prefill(state, index_of, model.embed(rows[:-1].to(device)), 0)
        state.begin(index_of, rows[-1], carry)
        sampler.set(
            index_of,
            seed=sampling.seed * 100_003 + index_of,
            temperatures=(sampling.temperature_text, sampling.temperature_audio),
            top_k=(sampling.top_k_text, sampling.top_k_audio),
            greedy=False,
        )
    texts, codes = [], []
    for f in range(frames):
        frame = torch.full((count, STREAMS), FREE, dtype=torch.int64, device=device)
        frame[:, USER] = users[:, f]
        row, output = model.step(state, frame, sampler)
        texts.append(row[:, 0])
        codes.append(output[:, 1 : 1 + CODEBOOKS])
    return torch.stack(texts, 1).cpu(), torch.stack(codes, 1).cpu()


def score(trials: list[Trial], texts: Tensor, piece: object) -> dict[str, float]:
    """Fills in answers; shares of right ones by kind and wording."""
    sums: dict[str, list[float]] = {}
    for trial, tokens in zip(trials, texts.tolist(), strict=True):
        trial.text = _read(tokens, piece)
        for i, asked in enumerate(trial.asked):
            until = asked.at + EVERY if i + 1 < len(trial.asked) else 1e9
            first = int(asked.end / FRAME_SECONDS) - 1
            last = min(int(until / FRAME_SECONDS), len(tokens))
            window = tokens[first:last]
            asked.answer = _read(window, piece)
            heard = plain(asked.answer)
            asked.right = any(plain(e) in heard for e in asked.expected) and bool(heard)
            spoken = [n for n, t in enumerate(window) if t not in (PAD, 0)]
            taken = bool(spoken)
            if taken:
                asked.latency = round(
                    (first + spoken[0]) * FRAME_SECONDS - asked.end, 3
                )
                sums.setdefault("latency", []).append(asked.latency)
            keys = [f"right {asked.kind} {asked.wording}", f"right {asked.kind}"]
            keys += ["right name"] if asked.intent == "name" else []
            for key in keys:
                sums.setdefault(key, []).append(float(asked.right))
            sums.setdefault("takeover", []).append(float(taken))
    table = {k: round(float(np.mean(v)), 3) for k, v in sorted(sums.items())}
    table["latency median"] = round(float(np.median(sums.get("latency", [-1]))), 3)
    table |= {f"n {k}": len(v) for k, v in sums.items() if k.startswith("right")}
    return table


def _read(tokens: list[int], piece: object) -> str:
    words = [piece(t) for t in tokens if t not in (PAD, 0, 1, 2)]  # type: ignore[operator]
    return "".join(words).replace(SPACE, " ").strip()


def evaluate(
    model: LanguageModel,
    codec: Mimi,
    corpus: Tensor,
    entries: list[Entry],
    tokenizer: Path,
    out: Path,
    count: int,
) -> None:
    import sentencepiece

    words = sentencepiece.SentencePieceProcessor()
    words.Load(str(tokenizer))
    domain = load_domain()
    index = Index(entries)
    tables: dict[str, dict[str, float]] = {}
    for side, sampling, name in (
        ("test", Sampling(temperature_text=0.4, seed=1), "unheard"),
        ("user", Sampling(temperature_text=0.4, seed=1), "trained"),
    ):
        trials = plan_trials(domain, index, count, side, 11)
        texts, codes = run_trials(
            model,
            codec,
            corpus,
            trials,
            index,
            lambda t: list(words.encode(t)),
            sampling,
        )
        tables[name] = score(trials, texts, words.IdToPiece)
        records = [asdict(t) for t in trials]
        stem = name.replace(" ", "-")
        (out / f"trials-{stem}.json").write_text(json.dumps(records))
        np.savez_compressed(
            out / f"trials-{stem}.npz",
            text=texts.numpy(),
            codes=codes.numpy().astype(np.int16),
        )
    (out / "trials.table.json").write_text(json.dumps(tables, indent=1))
