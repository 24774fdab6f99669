"""The fast synthesisers: hibari (one voice of Kokoro's, distilled) at several sizes of
throat, flite, espeak-ng and SVOX Pico.

Calls their packages and programs. Words of all but hibari get times by length.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE
from inference.training.corpus.speech_corpus import as_floats
from inference.training.tts.kokoro import DURATION_SAMPLES, Spoken, finish

DURATIONS = "/Clip_output_0"
PICO_RATE = 16_000
ESPEAK_WORDS = 165  # words per minute at stretch 1


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
    setting = f"duration_stretch={stretch * size:.2f}"
    command = ["flite", "-voice", voice, "-t", text, "--setf", setting, "-o"]
    return _program(command, text, size)


def espeak(text: str, voice: str, stretch: float, size: float) -> Spoken:
    speed = str(round(ESPEAK_WORDS / (stretch * size)))
    return _program(["espeak-ng", "-v", voice, "-s", speed, text, "-w"], text, size)


def pico(text: str, language: str) -> Spoken:
    import ttspico

    audio = np.frombuffer(ttspico.TtsEngine(language).speak(text), np.int16)
    return _with_guessed_words(text, as_floats(audio), PICO_RATE, 1.0)


def _program(command: list[str], text: str, size: float) -> Spoken:
    import soundfile

    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run([*command, file.name], check=True)
        audio, rate = soundfile.read(file.name, dtype="float32")
    return _with_guessed_words(text, audio, rate, size)


def _with_guessed_words(
    text: str, audio: NDArray[np.float32], rate: int, size: float
) -> Spoken:
    wide = scipy.signal.resample_poly(audio, SAMPLE_RATE // 50, rate // 50)
    sound = resized(np.asarray(wide, np.float32), size)
    spoken = finish(sound, [], [], np.zeros((0, 2)))
    lengths = np.cumsum([0.0] + [len(word) + 1.5 for word in text.split()])
    edges = (lengths / lengths[-1] * len(spoken.pcm) / SAMPLE_RATE).tolist()
    return Spoken(spoken.pcm, list(itertools.pairwise(edges)), [])
