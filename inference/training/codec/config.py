"""The settings of a codec's training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CodecConfig:
    shards: str  # folder of speech, may still be filling
    out: str
    seed: int = 1
    steps: int = 0  # one of steps and seconds decides
    seconds: float = 0.0
    batch: int = 24  # clips per GPU
    frames: int = 24  # of each clip
    hours: float = 7.0  # room for speech on the device
    min_hours: float = 0.1  # speech to wait for
    rate: float = 6e-4
    judge_rate: float = 3e-4
    width: int = 32  # of the discriminator's spectrograms
    power: float = 0.5  # to which it raises their magnitudes; 1: as they are
    crop: int = 16_384  # samples of each clip that the discriminator looks at
    codebooks_from: float = 0.04  # shares of the run
    discriminator_from: float = 0.15
    cool_from: float = 0.5
    unquantised: float = 0.1
    mel: float = 15.0
    wave: float = 1.0
    lines: float = 5.0
    commitment: float = 0.5
    phonemes: float = 1.0
    adversarial: float = 8.0
    features: float = 15.0
    init: str = ""  # a codec's weights to begin with
    judge: str = ""  # a run's state, whose discriminator to begin with
    resume: str = ""  # a run's state to continue from
    graphs: bool = True  # each step as one CUDA graph
    apart: int = 8  # steps that several GPUs take by themselves between two averages
    average: float = 0.999  # of the weights that are saved, from one step to the next
    save_seconds: float = 60.0
    decoder_only: bool = False  # tokens stay as they are
    archives: str = ""  # folders of speech archives, by commas
    side: str = ""  # learn only from the agents' speech, say
    first: str = ""  # or from all speech, but from this side's most often
    first_share: float = 0.5
