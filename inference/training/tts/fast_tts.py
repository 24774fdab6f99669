"""Speech at a hundred times real time, for what the large synthesiser is too slow for.

Decides which sentence is spoken by which fast voice.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.corpus.domain import Domain, load_domain
from inference.training.corpus.speech_corpus import Entry, write_shard
from inference.training.corpus.utterances import (
    further_texts,
    held_out_texts,
    user_texts,
)
from inference.training.tts.fast_engines import Hibari, espeak, flite, pico
from inference.training.tts.kokoro import load_phonemes

FLITE_VOICES = ("awb", "rms", "slt", "kal16")
# Synthesisers and voices for evaluation only.
OTHER_VOICES = ("pico-en-US", "pico-en-GB", "espeak-en-us", "espeak-en-gb")
ESPEAK_ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-029")
# Formant settings; the plain voices are left for evaluation.
ESPEAK_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("Alex", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Jacky", "Lee"),
    *("Michael", "Mike", "Nguyen", "RicishayMax", "Tweaky"),
    *("adam", "anika", "antonio", "belinda", "benjamin", "boris", "caleb", "david"),
    *("ed", "edward", "iven", "john", "kaukovalta", "linda", "marcelo"),
    *("max", "michel", "miguel", "norbert", "pablo", "paul", "quincy", "rob"),
    *("robert", "shelby", "steph", "travis", "victor", "zac"),
)


@dataclass(frozen=True)
class QuickConfig:
    out: str  # folder of shards
    phonemes: str
    seed: int = 3
    renditions: int = 2  # of each user sentence, each in another voice
    source: str = "hibari"  # or "flite", "espeak", "others"
    workers: int = 0  # 0: one per core


@dataclass(frozen=True)
class Rendition:
    text: str
    voice: str
    side: str
    size: float
    speed: float
    seed: int


def plan_renditions(domain: Domain, config: QuickConfig) -> list[Rendition]:
    rng = random.Random(config.seed)
    made: list[Rendition] = []

    def add(text: str, voice: str, side: str, size: float, speed: float) -> None:
        made.append(Rendition(text, voice, side, size, speed, rng.getrandbits(30)))

    asked = [*user_texts(domain), *further_texts(domain)]
    if config.source == "flite":
        for text in asked:
            for voice in rng.sample(FLITE_VOICES, config.renditions):
                size, stretch = rng.uniform(0.85, 1.2), rng.uniform(0.8, 1.2)
                add(text, f"user-{voice}", "user", size, stretch)
    elif config.source == "espeak":
        for text in asked:
            for variant in rng.sample(ESPEAK_VARIANTS, config.renditions):
                voice = f"{rng.choice(ESPEAK_ACCENTS)}+{variant}"
                size, stretch = rng.uniform(0.9, 1.12), rng.uniform(0.85, 1.25)
                add(text, f"espeak-{voice}", "user", size, stretch)
    elif config.source == "others":
        for text in [*user_texts(domain), *held_out_texts(domain)]:
            for voice in OTHER_VOICES:
                add(text, voice, "test", 1.0, 1.0)
    else:
        # Played faster is a smaller throat and a higher voice; the speed is made up
        # for.
        for text in asked:
            for _ in range(config.renditions):
                size, speed = rng.uniform(0.78, 1.22), rng.uniform(0.8, 1.25)
                add(text, "user-hibari", "user", size, speed)
    rng.shuffle(made)
    return made


def speak_quickly(config: QuickConfig) -> None:
    """All renditions on all cores, into one shard per core."""
    Path(config.out).mkdir(parents=True, exist_ok=True)
    planned = plan_renditions(load_domain(), config)
    workers = config.workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    processes = []
    for index in range(workers):
        args = (config, planned[index::workers], index)
        processes.append(context.Process(target=_share, args=args))
        processes[-1].start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a quick voice failed")


def _share(config: QuickConfig, share: list[Rendition], index: int) -> None:
    phonemes = load_phonemes(Path(config.phonemes))
    hibari = Hibari() if config.source == "hibari" else None
    entries: list[Entry] = []
    sounds: list[NDArray[np.int16]] = []
    for item in share:
        if item.voice.startswith("espeak-"):
            voice = item.voice.removeprefix("espeak-")
            spoken = espeak(item.text, voice, item.speed, item.size)
        elif item.voice.startswith("pico-"):
            spoken = pico(item.text, item.voice.removeprefix("pico-"))
        elif hibari is None:
            voice = item.voice.removeprefix("user-")
            spoken = flite(item.text, voice, item.speed, item.size)
        else:
            spoken = hibari.speak(phonemes[item.text], item.size, item.speed, item.seed)
        length = len(spoken.pcm)
        entries.append(
            Entry(
                item.text, item.voice, item.side, length, spoken.words, spoken.phonemes
            )
        )
        sounds.append(spoken.pcm)
    write_shard(Path(config.out) / f"{config.source}-{index:03}.npz", entries, sounds)
