"""Batches of dialogue plans as arrays, drawn by processes beside the training.

Must not depend on torch, so that the processes start fast.
"""

from __future__ import annotations

import multiprocessing
import random
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE
from inference.training.corpus.dialogues import Dialogue, Index, Placement, Variant
from inference.training.corpus.domain import load_domain
from inference.training.corpus.planner import Planner
from inference.training.corpus.speech_corpus import Entry

VOICE_FRAMES = (20, 50)  # of a voice prompt
PROMPT_TOKENS = 128
VARIANTS = 6  # of each dialogue's facts; the first is the one that is spoken
AGENT, USER = 0, 1


@dataclass
class Pieces:
    """Where samples come from and go to; one row per placement."""

    # dialogue, channel, first sample there, first sample in the corpus, samples, fade
    where: NDArray[np.int64]
    rate: NDArray[np.float32]


@dataclass
class PlanBatch:
    talk: Pieces
    voice: Pieces
    text: NDArray[np.int64]  # [B, VARIANTS, D]
    changed: NDArray[np.bool_]  # [B, VARIANTS, D]
    heard: NDArray[np.int64]  # [B, D]
    alert: NDArray[np.bool_]  # [B, D]
    halt: NDArray[np.bool_]  # [B, D]
    prompt: NDArray[np.int64]  # [B, VARIANTS, PROMPT_TOKENS]
    prompt_tokens: NDArray[np.int64]  # [B, VARIANTS]
    voice_frames: NDArray[np.int64]  # [B]


def pieces(
    rows: list[list[Placement]], entries: list[Entry], agent: int = AGENT
) -> Pieces:
    where, rate = [], []
    for row, placements in enumerate(rows):
        for p in placements:
            length = int((p.end - p.begin) * SAMPLE_RATE)
            source = entries[p.entry].start + int(p.begin * p.rate * SAMPLE_RATE)
            channel = USER if p.user else agent
            at = int(p.at * SAMPLE_RATE)
            fade = max(int(p.fade * SAMPLE_RATE), 1)
            where.append((row, channel, at, source, length, fade))
            rate.append(p.rate)
    return Pieces(np.array(where, np.int64).reshape(-1, 6), np.array(rate, np.float32))


def voice_sample(
    rng: random.Random, index: Index, voice: str, frames: int
) -> list[Placement]:
    """Some sentences of the voice, one after the other, to fill the frames."""
    said = index.agents[voice]
    texts = list(said)
    placements: list[Placement] = []
    at = rng.uniform(0, 0.15)
    while at < frames * 0.08:
        number = rng.choice(said[rng.choice(texts)])
        seconds = index.entries[number].seconds
        placements.append(Placement(number, False, at, 0, seconds))
        at += seconds + rng.uniform(0.05, 0.3)
    return placements


def make_batch(
    dialogues: list[Dialogue], index: Index, planner: Planner, rng: random.Random
) -> PlanBatch:
    count = len(dialogues)
    frames = dialogues[0].frames
    prompt = np.full((count, VARIANTS, PROMPT_TOKENS), 3, np.int64)
    tokens = np.zeros((count, VARIANTS), np.int64)
    text = np.zeros((count, VARIANTS, frames), np.int64)
    changed = np.zeros((count, VARIANTS, frames), np.bool_)
    for row, made in enumerate(dialogues):
        own = Variant(made.persona.role_prompt, made.text, [False] * frames)
        others = [planner.vary(made) for _ in range(VARIANTS - 1)]
        for column, variant in enumerate([own, *others]):
            ids = planner.writer.encode(variant.role_prompt)[:PROMPT_TOKENS]
            prompt[row, column, : len(ids)] = ids
            tokens[row, column] = len(ids)
            text[row, column] = variant.text
            changed[row, column] = variant.changed
    voices = [
        voice_sample(rng, index, made.agent_voice, VOICE_FRAMES[1])
        for made in dialogues
    ]
    return PlanBatch(
        pieces([made.placements for made in dialogues], index.entries),
        pieces(voices, index.entries),
        text,
        changed,
        np.array([made.heard for made in dialogues], np.int64),
        np.array([made.alert for made in dialogues], np.bool_),
        np.array([made.halt for made in dialogues], np.bool_),
        prompt,
        tokens,
        np.array([rng.randint(*VOICE_FRAMES) for _ in dialogues], np.int64),
    )


def _draw(
    queue: Queue[PlanBatch],
    entries: list[Entry],
    tokenizer: str,
    seed: int,
    batch: int,
    frames: int,
) -> None:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor()
    model.Load(tokenizer)
    index = Index(entries)
    planner = Planner(load_domain(), index, lambda text: list(model.encode(text)), seed)
    rng = random.Random(seed + 1)
    while True:
        made = [planner.draw(frames) for _ in range(batch)]
        queue.put(make_batch(made, index, planner, rng))


class PlanSource:
    """Processes that draw plans without end; stop() ends them."""

    def __init__(
        self,
        entries: list[Entry],
        tokenizer: Path,
        seed: int,
        batch: int,
        frames: int,
        workers: int,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.queue: Queue[PlanBatch] = context.Queue(maxsize=16)
        self.processes: list[BaseProcess] = []
        for worker in range(workers):
            args = (
                self.queue,
                entries,
                str(tokenizer),
                seed + 7919 * worker,
                batch,
                frames,
            )
            process = context.Process(target=_draw, args=args, daemon=True)
            process.start()
            self.processes.append(process)

    def next(self) -> PlanBatch:
        return self.queue.get(timeout=120)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
