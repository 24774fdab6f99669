"""Speech at a hundred times real time: hibari (one voice of Kokoro's, distilled) at
several sizes of throat, and flite. For what the large synthesiser is too slow for.

Knows the two packages and the bank's entries. Words of flite get times by length.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE
from inference.training.bank import Entry, write_shard
from inference.training.domain import Domain, load_domain
from inference.training.kokoro import DURATION_SAMPLES, Spoken, finish, load_phonemes
from inference.training.utterances import fact_texts, fixed_agent_texts, user_texts

# Played faster is a smaller throat and a higher voice; the speed is made up for.
AGENT_SIZES = {"heart": 1.0, "heart-low": 0.82, "heart-mid": 0.91, "heart-high": 1.12}
FLITE_VOICES = ("awb", "rms", "slt", "kal16")
DURATIONS = "/Clip_output_0"


class Hibari:
    def __init__(self) -> None:
        import hibari
        import onnx
        import onnxruntime

        self.speaker = hibari.Hibari()
        self.synth = hibari.dsp.synth
        graph = onnx.load(self.speaker.model_path)
        info = onnx.helper.make_tensor_value_info(
            DURATIONS, onnx.TensorProto.FLOAT, None
        )
        graph.graph.output.append(info)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def speak(self, phonemes: str, size: float, speed: float, seed: int) -> Spoken:
        vocabulary = self.speaker.vocab
        known = [c for c in phonemes if c in vocabulary]
        ids = [vocabulary[c] for c in known]
        *parts, durations = self.session.run(
            None,
            {
                "ids": np.array([[0, *ids, 0]], np.int64),
                "speed": np.array([speed / size], np.float32),
            },
        )
        rng = np.random.default_rng(seed)
        audio = self.synth(*(part[0] for part in parts), rng)
        ends = np.cumsum(durations.reshape(-1)) * DURATION_SAMPLES / size
        times = np.stack([np.concatenate([[0], ends[:-1]]), ends], 1)[1:-1]
        return finish(resized(audio, size), known, ids, times)


def resized(audio: NDArray[np.float32], size: float) -> NDArray[np.float32]:
    if size == 1.0:
        return audio
    changed = scipy.signal.resample_poly(audio, 100, round(100 * size))
    return np.asarray(changed, np.float32)


def flite(text: str, voice: str, stretch: float, size: float) -> Spoken:
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        setting = f"duration_stretch={stretch * size:.2f}"
        command = [
            "flite",
            "-voice",
            voice,
            "-t",
            text,
            "--setf",
            setting,
            "-o",
            file.name,
        ]
        subprocess.run(command, check=True)
        import soundfile

        audio, rate = soundfile.read(file.name, dtype="float32")
    wide = scipy.signal.resample_poly(audio, SAMPLE_RATE // 100, rate // 100)
    sound = resized(np.asarray(wide, np.float32), size)
    spoken = finish(sound, [], [], np.zeros((0, 2)))
    lengths = np.cumsum([0.0] + [len(word) + 1.5 for word in text.split()])
    edges = (lengths / lengths[-1] * len(spoken.pcm) / SAMPLE_RATE).tolist()
    return Spoken(spoken.pcm, list(itertools.pairwise(edges)), [])


@dataclass(frozen=True)
class QuickConfig:
    out: str  # folder of shards
    phonemes: str
    seed: int = 3
    renditions: int = 6  # of each user sentence by hibari, each another voice
    source: str = "hibari"  # or "flite"
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

    if config.source == "flite":
        for text in user_texts(domain):
            for voice in FLITE_VOICES:
                size, stretch = rng.uniform(0.85, 1.2), rng.uniform(0.8, 1.2)
                add(text, f"user-{voice}", "user", size, stretch)
    else:
        for voice, size in AGENT_SIZES.items():
            texts = fixed_agent_texts(domain) + fact_texts(domain)
            texts += _greetings(domain, rng)
            for text in texts:
                add(text, voice, "agent", size, rng.uniform(0.95, 1.08))
        for text in user_texts(domain):
            for _ in range(config.renditions):
                size, speed = rng.uniform(0.78, 1.22), rng.uniform(0.8, 1.25)
                add(text, "user-hibari", "user", size, speed)
    rng.shuffle(made)
    return made


def _greetings(domain: Domain, rng: random.Random) -> list[str]:
    return [
        domain.greeting.format(name=name[0], employer=employer[0])
        for name in domain.facts["name"].values
        for employer in rng.sample(domain.facts["employer"].values, 2)
    ]


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
        if hibari is None:
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
