"""Endless clips for the codec: windows of the speech corpus, changed a little.

Holds the corpus's copy on the device and applies the changes that real microphones
make: level, speed and pitch, noise, gaps. Must not depend on the network.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.timing import FRAME_SAMPLES, SAMPLE_RATE
from inference.training.corpus.speech_corpus import Entry, ShardReader, SpeechCorpus

LABEL_SAMPLES = 240  # one phoneme label each 10 ms
SYMBOLS = 192  # phoneme vocabulary; 0 is silence
UNKNOWN = 255  # a label of speech without known phonemes
POLL_SECONDS = 2.0


def label_track(entries: list[Entry], samples: int) -> NDArray[np.uint8]:
    """The phoneme of each 10 ms of a corpus's sound."""
    track = np.zeros(samples // LABEL_SAMPLES + 1, np.uint8)
    per_second = SAMPLE_RATE / LABEL_SAMPLES
    for entry in entries:
        at = entry.start / LABEL_SAMPLES
        if not entry.phonemes:
            end = at + entry.samples / LABEL_SAMPLES
            track[int(at) : int(end) + 1] = UNKNOWN
        for code, begin, end in entry.phonemes:
            first = round(at + begin * per_second)
            track[first : max(round(at + end * per_second), first + 1)] = code
    return track


class SpeechPool:
    """The corpus on the device; grows while synthesisers still write."""

    def __init__(self, device: torch.device, hours: float) -> None:
        samples = int(hours * 3600 * SAMPLE_RATE)
        self.pcm = torch.zeros(samples, dtype=torch.int16, device=device)
        self.labels = torch.zeros(
            samples // LABEL_SAMPLES + 1, dtype=torch.uint8, device=device
        )
        self.samples = 0
        self.first = 0  # samples at the beginning that are drawn more often
        self.still = threading.Lock()  # while it is locked the pool does not grow
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def append(self, entries: list[Entry], pcm: NDArray[np.int16]) -> None:
        room = (
            min(len(pcm), len(self.pcm) - self.samples) // LABEL_SAMPLES * LABEL_SAMPLES
        )
        start = self.samples
        self.pcm[start : start + room] = torch.from_numpy(pcm[:room])
        track = torch.from_numpy(label_track(entries, len(pcm)))
        first = start // LABEL_SAMPLES
        self.labels[first : first + room // LABEL_SAMPLES] = track[
            : room // LABEL_SAMPLES
        ]
        self.samples = start + room

    def fill(self, corpus: SpeechCorpus) -> None:
        self.append(corpus.entries, corpus.pcm)

    def fill_in_order(self, corpus: SpeechCorpus, side: str) -> None:
        """That side first, and then everything else."""
        self.fill(corpus.only(side))
        self.first = self.samples
        self.fill(corpus.only(side, others=True))

    def follow(self, folder: Path, min_hours: float) -> None:
        """Take up shards in the background; returns when there is enough to begin."""
        reader = ShardReader(folder)

        def poll() -> None:
            while not self._stop.wait(POLL_SECONDS):
                fresh = reader.update(SpeechCorpus())
                if fresh.entries:
                    with self.still:
                        self.append(fresh.entries, fresh.pcm)

        self._thread = threading.Thread(target=poll, daemon=True)
        self._thread.start()
        while self.samples < min_hours * 3600 * SAMPLE_RATE:
            time.sleep(0.2)

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()


def draw_clips(
    pool: SpeechPool,
    batch: int,
    frames: int,
    generator: torch.Generator,
    changed: bool = True,
    first_share: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Sound [B, 1, T] and the phonemes of each frame [B, F, 8]. Not ``changed``: as it
    was recorded, but for its level. ``first_share`` of the clips are of what was put
    first in the pool, and unchanged but for a pause."""
    device = pool.pcm.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(batch, *shape, generator=generator, device=device)
        return low + (high - low) * drawn

    own = uniform(0, 1, 1) < first_share  # as they are: so they shall sound

    def chance(p: float) -> Tensor:
        return (uniform(0, 1, 1) < (p if changed else 0.0)) & ~own

    samples = frames * FRAME_SAMPLES
    rate = torch.where(
        chance(0.4), uniform(0.85, 1.18, 1), torch.ones_like(uniform(0, 1, 1))
    )
    end = torch.where(own, pool.first, pool.samples)
    start = uniform(0, 1, 1).double() * (end - 1.2 * samples - 2)
    # Fractional places in the corpus: another rate is another pitch and another size
    # of throat, which is how few voices become many.
    place = start + rate.double() * torch.arange(samples, device=device)
    index = place.long()
    part = (place - index).float()
    left, right = pool.pcm[index].float(), pool.pcm[index + 1].float()
    sound = (left + part * (right - left)) / 32768
    labels = pool.labels[index[:, :: FRAME_SAMPLES // 8] // LABEL_SAMPLES]
    sound = sound * 10 ** (
        torch.where(uniform(0, 1, 1) < 0.7, uniform(-12, 6, 1), uniform(0, 1, 1)) / 20
    )
    # A pause somewhere in some clips: silence has to be coded well, too.
    time_line = torch.arange(samples, device=device)[None] / samples
    begin, length = uniform(0, 1, 1), uniform(0.05, 0.5, 1)
    paused = uniform(0, 1, 1) < (0.25 if changed else 0.0)
    gap = paused & (time_line > begin) & (time_line < begin + length)
    sound = sound * ~gap
    labels = labels * ~gap[:, :: FRAME_SAMPLES // 8]
    noise = torch.randn(batch, samples, generator=generator, device=device)
    level = 10 ** (uniform(-75, -35, 1) / 20)
    sound = sound + chance(0.2) * level * noise
    return sound.clamp(-1, 1)[:, None], labels.view(batch, frames, 8)
