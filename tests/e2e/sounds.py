"""Sound for the end-to-end tests: microphones, voice samples, and how loud it is."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from conversations.audio.opus import Encoder
from inference.timing import FRAME_SAMPLES, SAMPLE_RATE

DATA = Path(__file__).resolve().parent.parent / "data"
RECORDING = DATA / "librivox_female.flac"
SENTENCES = (
    "Good morning. I would like to know when the next train to the coast leaves, "
    "and whether there is still a seat by the window. I am travelling with a large "
    "dog, who is very quiet, and two small suitcases."
)


def espeak_sample(folder: Path) -> Path:
    """A voice that espeak-ng speaks now; the committed one where it is missing."""
    program = shutil.which("espeak-ng")
    if program is None:
        return DATA / "espeak_voice.flac"
    path = folder / "espeak.wav"
    subprocess.run(
        [program, "-v", "en-us", "-s", "150", "-w", path, SENTENCES], check=True
    )
    return path


def decoded(source: Path | bytes, rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """float32 [channels, n] of any sound file."""
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with av.open(file) as container:
        layout = "stereo" if container.streams.audio[0].channels > 1 else "mono"
        resampler = av.AudioResampler("fltp", layout, rate)
        frames = [
            out.to_ndarray()
            for frame in container.decode(audio=0)
            for out in resampler.resample(frame)
        ]
        frames += [out.to_ndarray() for out in resampler.resample(None)]
    return np.concatenate(frames, axis=1)


def rms(sound: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(sound))))


def microphone(folder: Path) -> Path:
    """A 48 kHz WAV of speech and pauses, which Chromium plays over and over."""
    import soundfile

    speech = decoded(RECORDING, 48_000)[0]
    pause = np.zeros(48_000, np.float32)
    path = folder / "microphone.wav"
    soundfile.write(path, np.concatenate([pause, speech, pause]), 48_000, "PCM_16")
    return path


def espeak_says(text: str, folder: Path) -> NDArray[np.float32] | None:
    """At 24 kHz; None where espeak-ng is missing."""
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    path = folder / "said.wav"
    subprocess.run([program, "-v", "en-us", "-w", path, text], check=True)
    return decoded(path)[0]


def packets(seconds: float, skip: float = 0.0) -> list[bytes]:
    """The recording as fixed Opus packets of 80 ms."""
    speech = decoded(RECORDING)[0][int(skip * SAMPLE_RATE) :]
    return as_packets(np.resize(speech, int(seconds * SAMPLE_RATE)))


def as_packets(pcm: NDArray[np.float32]) -> list[bytes]:
    """Whole frames only."""
    count = len(pcm) // FRAME_SAMPLES
    pcm = pcm[: count * FRAME_SAMPLES]
    encoder = Encoder(32_000)
    rows = (pcm * 32767).astype(np.int16).reshape(count, FRAME_SAMPLES)
    return [encoder.encode(row) for row in rows]
