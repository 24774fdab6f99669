"""The evaluation's one command: conversations, evaluators, a table.

Runs the steps in order and divides the talks among processes.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.engine.api import Sampling
from inference.loading.checkpoint import Model, load_model, model_folder
from inference.prompts.preset_voices import preset_voices
from inference.prompts.voice_file import VoicePrompt, read_voice
from inference.training.corpus.domain import load_domain
from inference.training.corpus.speech_corpus import SpeechCorpus, as_floats
from inference.training.evaluation.codec_scores import codec_scores
from inference.training.evaluation.evaluators import Evaluators
from inference.training.evaluation.formats import (
    compare,
    read,
    round_cache,
    with_weights,
)
from inference.training.evaluation.human import human_scripts, read_recordings
from inference.training.evaluation.listening import (
    keep,
    keep_examples,
    listen,
    make_panel,
)
from inference.training.evaluation.measures import Heard, Table, measure
from inference.training.evaluation.recall import recall
from inference.training.evaluation.report import Figures, figures_of, markdown
from inference.training.evaluation.scripts import (
    OPENING_SECONDS,
    OPENING_TURNS,
    SECONDS,
    TURNS,
    Script,
    Turns,
    Writer,
    numbers_by_voice,
)
from inference.training.evaluation.talks import Talk, talk_all, user_sound
from inference.training.files import load_folders
from inference.training.voices import read_sound


@dataclass(frozen=True)
class EvaluateConfig:
    model: str  # a folder, or the name of a built-in model
    out: str
    sounds: str  # of the model's voices, to know the speakers by
    archives: str = ""  # with utterances of the side "test"
    shards: str = ""
    people: str = ""  # index of human recordings
    parts: str = "talks,openings,people,codec,recall,formats"
    conversations: int = 200
    opening_conversations: int = 40
    people_conversations: int = 24
    recall_conversations: int = 24
    format_conversations: int = 12
    codec_clips: int = 16  # of each group
    # Weights and KV cache; "fp32" is what the others are compared with.
    formats: str = "fp32/fp32,bf16/bf16,int8/bf16,int8/int8,fp8/bf16,int4/bf16"
    batch: int = 20
    seed: int = 1
    threads: int = 1  # of each process
    workers: int = 1  # processes that share the talks of the part "talks"
    text_temperature: float = 0.7
    audio_temperature: float = 0.8
    quality_every: int = 4  # conversations of which one is scored for quality


class Evaluation:
    def __init__(self, config: EvaluateConfig) -> None:
        self.config = config
        self.out = Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.model = load_model(config.model)
        self.voices = load_voices(config.model, self.model)
        self.corpus = load_folders(config.archives, config.shards).only("test")
        self.sampling = Sampling(
            temperature_text=config.text_temperature,
            temperature_audio=config.audio_temperature,
            seed=1,
        )
        evaluators = Evaluators(self.out, config.threads)
        sounds = Path(config.sounds)
        self.panel = make_panel(self.model, evaluators, sounds, config.quality_every)

    def _talk(
        self, corpus: SpeechCorpus, scripts: list[Script], seconds: float, model: Model
    ) -> list[Talk]:
        users = user_sound(
            torch.from_numpy(corpus.pcm), corpus.entries, scripts, seconds
        )
        batch = self.config.batch
        return talk_all(model, scripts, users, self.voices, self.sampling, batch)

    def talks(self) -> dict[str, Figures]:
        """With voices that training never heard."""
        config = self.config
        if config.workers > 1:
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(config.workers, spawn) as pool:
                shares = pool.map(hold, repeat(config), range(config.workers))
                heards = [heard for share in shares for heard in share]
        else:
            heards = self.hold(0)
        for number, heard in enumerate(heards):
            keep(heard, self.out / "talks.jsonl", number)
        return figures_by_group(heards)

    def hold(self, worker: int) -> list[Heard]:
        """One worker's share of the talks, held and evaluated."""
        scripts = write_scripts(self.corpus, list(self.voices), self.config)
        scripts = scripts[worker :: self.config.workers]
        talks = self._talk(self.corpus, scripts, SECONDS, self.model)
        if not worker:
            keep_examples(talks, self.out)
        return listen(self.model, talks, self.panel)

    def openings(self) -> dict[str, Figures]:
        """Does the agent wait for a question that is promised, and say "mm-hm"?"""
        count, voices = self.config.opening_conversations, list(self.voices)
        config = replace(self.config, conversations=count)
        scripts = write_scripts(self.corpus, voices, config, OPENING_TURNS)
        talks = self._talk(self.corpus, scripts, OPENING_SECONDS, self.model)
        panel = replace(self.panel, quality_every=0)
        return figures_by_group(listen(self.model, talks, panel))

    def people(self) -> dict[str, Figures]:
        """With recordings of real people."""
        corpus = read_recordings(Path(self.config.people))
        count, seed = self.config.people_conversations, self.config.seed
        scripts = human_scripts(corpus, list(self.voices), count, seed)
        talks = self._talk(corpus, scripts, SECONDS, self.model)
        heards = listen(self.model, talks, self.panel, self.out / "people.jsonl")
        return figures_by_group(heards)

    def codec(self) -> dict[str, Figures]:
        """Words, quality and speaker before and after the codec."""
        groups: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for path in sorted(Path(self.config.sounds).glob("*.ogg")):
            for part in np.split(read_sound(path)[: 2 * 5 * 24_000], 2):
                groups["agent voices"].append(("", part))
        entries = [e for e in self.corpus.entries if len(e.text.split()) >= 4]
        random.Random(self.config.seed).shuffle(entries)
        for entry in entries:
            group = f"users, {group_of(entry.voice)}"
            if len(groups[group]) < self.config.codec_clips:
                sound = as_floats(self.corpus.sound(entry))
                groups[group].append((entry.text, sound))
        if self.config.people:
            corpus = read_recordings(Path(self.config.people))
            for entry in corpus.entries:
                sound = as_floats(corpus.sound(entry))
                groups["people"].append((entry.text, sound))
        return codec_scores(self.model, dict(groups), self.panel.evaluators)

    def recall(self) -> dict[str, Figures]:
        """Facts of the role prompt before and after the window has slid."""
        count, seed = self.config.recall_conversations, self.config.seed
        made = recall(self.model, self.corpus, self.voices, count, self.sampling, seed)
        return {"facts said right": made}

    def formats(self) -> dict[str, Figures]:
        """The same talks read, and others held, with other number formats."""
        config = replace(self.config, conversations=self.config.format_conversations)
        scripts = write_scripts(self.corpus, list(self.voices), config)
        tables: dict[str, Figures] = {}
        plain: list[Talk] = []
        for name in self.config.formats.split(","):
            weights, cache = name.split("/")
            lm = with_weights(self.model.lm, weights)
            if cache != "fp32":
                round_cache(lm, cache)
            model = replace(self.model, lm=lm)
            talks = self._talk(self.corpus, scripts, SECONDS, model)
            plain = plain or talks
            heards = listen(model, talks, replace(self.panel, quality_every=0))
            own = figures_by_group(heards)["all"]
            kept = ("words: errors", "right: all", "right: name", "voice: own")
            figures = {k: v for k, v in own.items() if k.startswith(kept)}
            tables[name] = figures | self._read(plain, lm)
        return tables

    def _read(self, talks: list[Talk], lm: Any) -> Figures:
        sums: dict[str, list[float]] = defaultdict(list)
        for talk in talks:
            truth = read(self.model.lm, talk.prompt, talk.rows)
            found = compare(truth, read(lm, talk.prompt, talk.rows), talk.rows)
            for name, value in found.items():
                sums[name].append(value)
        return {
            k: {"value": round(float(np.mean(v)), 4), "n": len(v)}
            for k, v in sums.items()
        }


def hold(config: EvaluateConfig, worker: int) -> list[Heard]:
    torch.set_num_threads(config.threads)
    return Evaluation(config).hold(worker)


def evaluate(config: EvaluateConfig) -> None:
    """Each part's table is written as soon as it is there."""
    torch.set_num_threads(config.threads)
    evaluation = Evaluation(config)
    parts: dict[str, Callable[[], dict[str, Figures]]] = {
        "talks": evaluation.talks,
        "openings": evaluation.openings,
        "people": evaluation.people,
        "codec": evaluation.codec,
        "recall": evaluation.recall,
        "formats": evaluation.formats,
    }
    for name in config.parts.split(","):
        if name not in parts:
            raise SystemExit(f"there is no part {name!r}, only {', '.join(parts)}")
    for name in config.parts.split(","):
        begin = time.monotonic()
        tables = parts[name]()
        report = {"model": evaluation.model.fingerprint, "tables": tables}
        out = Path(config.out)
        (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        (out / f"{name}.md").write_text(markdown(tables))
        sys.stderr.write(f"{name}: {time.monotonic() - begin:.0f} s\n")


def figures_by_group(heards: list[Heard]) -> dict[str, Figures]:
    tables: dict[str, Table] = defaultdict(Table)
    for heard in heards:
        for name in ("all", heard.script.group):
            measure(heard, tables[name])
    return {name: figures_of(table) for name, table in tables.items()}


def load_voices(source: str, model: Model) -> dict[str, VoicePrompt]:
    presets = preset_voices(model_folder(source))
    return {v.name: read_voice(v.read(), model.config) for v in presets}


def group_of(voice: str) -> str:
    """Whose speech it is; a synthesiser's voices are alike."""
    head = voice.partition("-")[0]
    return {"pico": "pico", "espeak": "espeak-ng"}.get(head, "Kokoro")


def write_scripts(
    corpus: SpeechCorpus,
    voices: list[str],
    config: EvaluateConfig,
    turns: Turns = TURNS,
) -> list[Script]:
    """Each conversation has one user and an agent's voice of its own, drawn apart."""
    rng = random.Random(config.seed)
    users = numbers_by_voice(corpus.entries)
    # As many conversations with Kokoro's voices as with all others together.
    natural = [u for u in users if group_of(u) == "Kokoro"]
    others = [u for u in users if u not in natural]
    pools = [pool for pool in (natural, others) if pool]
    writers = {
        user: Writer(load_domain(), corpus.entries, group_of(user), rng, turns, own)
        for user, own in users.items()
    }
    scripts = []
    for count in range(config.conversations):
        pool = pools[count % len(pools)]
        writer = writers[pool[count // len(pools) % len(pool)]]
        scripts.append(writer.draw(rng.choice(voices)))
    return scripts
