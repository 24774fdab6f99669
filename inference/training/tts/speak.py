"""Speaks a list of utterances on all cores, into shards that appear as they fill.

Must not depend on what the speech is for.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.corpus.domain import load_domain
from inference.training.corpus.speech_corpus import (
    Entry,
    ShardReader,
    SpeechCorpus,
    write_archive,
    write_shard,
)
from inference.training.corpus.utterances import Utterance, plan_utterances
from inference.training.tts.kokoro import Kokoro, load_phonemes, widen

SHARD = 16  # utterances


@dataclass(frozen=True)
class SpeechConfig:
    synthesiser: str  # folder made by kokoro.pack
    phonemes: str
    out: str
    seed: int = 1
    voices_per_text: int = 4  # of a further wording; a main one has twice as many
    sides: str = "agent,user"  # which of "agent", "user" and "test"
    limit: int = 0  # utterances; 0: all
    workers: int = 0  # 0: one per core
    device: str = "cpu"  # or "cuda"
    gpus: int = 1  # that the workers share out among them
    seconds: float = 0.0  # what is not spoken by then stays unspoken; 0: no limit
    archive: str = ""  # folder of the Opus archive
    archive_parts: int = 4


def prepare(config: SpeechConfig) -> list[Utterance]:
    """Unpacks the model once for all workers and makes the folder."""
    folder = Path(config.synthesiser)
    wide = folder / "wide.onnx"
    if config.device == "cpu" and not wide.exists():
        wide.write_bytes(widen((folder / "model.onnx").read_bytes()))
    Path(config.out).mkdir(parents=True, exist_ok=True)
    everything = plan_utterances(load_domain(), config.seed, config.voices_per_text)
    planned = [u for u in everything if u.side in config.sides.split(",")]
    planned.sort(key=lambda utterance: utterance.side != "agent")  # if time runs out
    return planned[: config.limit or None]


def start(config: SpeechConfig) -> list[BaseProcess]:
    """One process per core; they end by themselves. The caller joins them."""
    planned = prepare(config)
    workers = config.workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    for index in range(workers):
        args = (config, planned[index::workers], index)
        process = context.Process(target=_speak, args=args, daemon=True)
        process.start()
        processes.append(process)
    return processes


def _speak(config: SpeechConfig, share: list[Utterance], index: int) -> None:
    os.nice(10)
    if config.device == "cuda" and config.gpus > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(index % config.gpus)
    kokoro = Kokoro(Path(config.synthesiser), config.device)
    phonemes = load_phonemes(Path(config.phonemes))
    begun = time.monotonic()
    for number, first in enumerate(range(0, len(share), SHARD)):
        entries: list[Entry] = []
        sounds: list[NDArray[np.int16]] = []
        if config.seconds and time.monotonic() - begun > config.seconds:
            break
        for wanted in share[first : first + SHARD]:
            spoken = kokoro.speak(phonemes[wanted.text], wanted.voice, wanted.speed)
            entry = Entry(
                wanted.text,
                wanted.voice,
                wanted.side,
                len(spoken.pcm),
                [(round(a, 3), round(b, 3)) for a, b in spoken.words],
                [(p, round(a, 3), round(b, 3)) for p, a, b in spoken.phonemes],
            )
            entries.append(entry)
            sounds.append(spoken.pcm)
        write_shard(Path(config.out) / f"{index:03}-{number:04}.npz", entries, sounds)


def speak_all(config: SpeechConfig) -> None:
    """Returns when everything is spoken; leaves a note beside the shards."""
    processes = start(config)
    for process in processes:
        process.join()
    failed = [p.exitcode for p in processes if p.exitcode]
    if failed:
        raise SystemExit(f"{len(failed)} synthesisers failed")
    (Path(config.out) / "complete").write_text(str(len(processes)))


def archive(config: SpeechConfig) -> None:
    """Waits until all is spoken, then writes the Opus archive."""
    while not (Path(config.out) / "complete").exists():
        time.sleep(1)
    corpus = ShardReader(Path(config.out)).update(SpeechCorpus())
    write_archive(corpus, Path(config.archive), config.archive_parts)
    sys.stderr.write(
        f"archive: {len(corpus.entries)} utterances, {corpus.hours:.2f} h\n"
    )
