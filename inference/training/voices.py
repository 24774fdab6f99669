"""The voices that the small model ships: from sentences to voice prompt files.

Defines which trained speaker belongs to which name. The sound is kept beside the
training, since prompts have to be encoded again for each new set of weights.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE
from inference.training.corpus.domain import load_domain
from inference.training.corpus.speech_corpus import SpeechCorpus

SOUND_LEVEL = 0.9  # of libsndfile for Opus: about 30 kbit/s
PAUSE = 0.12  # seconds between sentences


@dataclass(frozen=True)
class VoicesConfig:
    model: str  # folder whose voices are written
    sounds: str  # folder of NAME.ogg
    seconds: float = 3.4  # of the prompt
    length: float = 11.0  # of what is kept, to know the speaker by
    seed: int = 1
    archives: str = ""  # speech to take the sounds from; none: they are there
    shards: str = ""
    speakers: dict[str, str] = field(default_factory=dict)  # name to agent voice


def make_voices(config: VoicesConfig) -> None:
    if config.archives or config.shards:
        _make_sounds(config)
    encode_voices(Path(config.model), Path(config.sounds), config.seconds)


def _make_sounds(config: VoicesConfig) -> None:
    import soundfile

    from inference.training.files import load_folders

    corpus = load_folders(config.archives, config.shards)
    folder = Path(config.sounds)
    folder.mkdir(parents=True, exist_ok=True)
    for name, voice in config.speakers.items():
        sound = _sentences(corpus, voice, config)
        soundfile.write(
            folder / f"{name}.ogg",
            sound,
            SAMPLE_RATE,
            format="OGG",
            subtype="OPUS",
            compression_level=SOUND_LEVEL,
        )


def _sentences(
    corpus: SpeechCorpus, voice: str, config: VoicesConfig
) -> NDArray[np.int16]:
    """Sentences made for voice prompts first, then any others."""
    rng = random.Random(config.seed)
    own = [e for e in corpus.entries if e.side == "agent" and e.voice == voice]
    rng.shuffle(own)
    samples = set(load_domain().samples)
    own.sort(key=lambda entry: (entry.text not in samples, entry.seconds < 1.5))
    gap = np.zeros(int(PAUSE * SAMPLE_RATE), np.int16)
    parts: list[NDArray[np.int16]] = []
    while own and sum(map(len, parts)) < config.length * SAMPLE_RATE:
        parts += [corpus.sound(own.pop(0)), gap]
    if not parts:
        raise SystemExit(f"the speech holds no agent {voice}")
    return np.concatenate(parts)[: int(config.length * SAMPLE_RATE)]


def read_sound(path: Path) -> NDArray[np.float32]:
    import soundfile

    sound, rate = soundfile.read(path, dtype="float32")
    if rate not in (SAMPLE_RATE, 2 * SAMPLE_RATE):
        raise SystemExit(f"{path}: {rate} Hz, expected {SAMPLE_RATE}")
    return np.asarray(sound[:: rate // SAMPLE_RATE], np.float32)


def encode_voices(model_folder: Path, sounds: Path, seconds: float) -> None:
    """Voice prompts of this model from the sounds; what was there is replaced."""
    from inference.engine.voice_encoding import VoiceEncoder
    from inference.loading.checkpoint import load_model
    from inference.prompts.preset_voices import FOLDER, SUFFIX
    from inference.sound_files import at_voice_loudness

    model = load_model(model_folder)
    folder = model_folder / FOLDER
    folder.mkdir(exist_ok=True)
    for path in sorted(sounds.glob("*.ogg")):
        sound = read_sound(path)[: int(seconds * SAMPLE_RATE)]
        encoder = VoiceEncoder(model, at_voice_loudness(sound))
        while encoder.step() < 1:
            pass
        (folder / (path.stem + SUFFIX)).write_bytes(encoder.result())
