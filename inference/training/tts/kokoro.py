"""The synthesiser: Kokoro-82M (Apache-2.0) as its packages hold it.

Packs model and voices into one small folder and runs them.
Words get exact times from the durations that the model itself predicts.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE

DURATIONS = "/encoder/Clip_output_0"
DURATION_SAMPLES = 600
LARGE = 100_000  # values; smaller tensors stay fp32 in the packed model
TIMBRE = 128  # values of a style vector that are the voice; the others are prosody
MAX_TOKENS = 112  # style rows that are kept of each voice
SILENCE = 10 ** (-45 / 20)  # of the peak; quieter ends are cut
MARGIN = 480  # samples kept around what is heard
LEVEL = 10 ** (-24 / 20)  # RMS of the speech in the result


def pack(
    model: Path, vocabulary: Path, voices: Path, names: set[str], out: Path
) -> None:
    """Model with its durations as an output, large weights in fp16; style vectors.
    Twice: for the packaged runtime and, as nodes and arrays, for a GPU."""
    import onnx
    from onnx import numpy_helper

    from inference.training.tts.onnx_torch import convert

    out.mkdir(parents=True, exist_ok=True)
    graph = onnx.load(str(model))
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            if values.size > LARGE:
                half = numpy_helper.from_array(values.astype(np.float16), tensor.name)
                tensor.CopyFrom(half)
    outputs = graph.graph.output
    outputs.append(
        onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None)
    )
    (out / "model.onnx").write_bytes(graph.SerializeToString())
    convert(graph, ["audio", DURATIONS], out)
    styles = {
        file.stem: np.fromfile(file, np.float32).reshape(-1, 256)[:MAX_TOKENS]
        for file in sorted(voices.glob("*.bin"))
        if file.stem in names
    }
    halves: dict[str, Any] = {k: v.astype(np.float16) for k, v in styles.items()}
    np.savez(out / "voices.npz", **halves)
    (out / "vocab.json").write_text(vocabulary.read_text())


def widen(model: bytes) -> bytes:
    """The packed model as the runtime wants it: fp32 where it was fp32."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model)
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return graph.SerializeToString()


def phonemize(texts: list[str]) -> dict[str, str]:
    """English text to phonemes; needs the package ``hibari-tts``."""
    import hibari

    speaker = hibari.Hibari()
    return {text: " ".join(speaker.phonemize(text)) for text in texts}


def load_phonemes(path: Path) -> dict[str, str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        phonemes: dict[str, str] = json.load(file)
    return phonemes


@dataclass(frozen=True)
class Spoken:
    pcm: NDArray[np.int16]
    words: list[tuple[float, float]]  # start and end of each word, seconds
    phonemes: list[tuple[int, float, float]]  # vocabulary id, start and end


Inputs = dict[str, NDArray[Any]]
Run = Callable[[Inputs], list[NDArray[np.float32]]]


def _on_cpu(folder: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    wide = folder / "wide.onnx"
    model = wide.read_bytes() if wide.exists() else widen(_read(folder))
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    return lambda inputs: list(session.run(["audio", DURATIONS], inputs))


def _on_gpu(folder: Path, device: str) -> Run:
    import torch

    from inference.training.tts.onnx_torch import OnnxGraph

    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    graph = OnnxGraph(folder, torch.device(device))

    def run(inputs: Inputs) -> list[NDArray[np.float32]]:
        given = {name: torch.from_numpy(value) for name, value in inputs.items()}
        return [value.float().cpu().numpy() for value in graph(**given)]

    return run


class Kokoro:
    """One synthesiser, one thread; on ``device`` "cuda", several share the GPU."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._run = _on_cpu(folder) if device == "cpu" else _on_gpu(folder, device)
        with np.load(folder / "voices.npz") as voices:
            self.styles = {name: voices[name].astype(np.float32) for name in voices}
        loaded: Any = json.loads((folder / "vocab.json").read_text())
        self.vocabulary: dict[str, int] = loaded.get("vocab", loaded)

    def style(self, voice: str, tokens: int) -> NDArray[np.float32]:
        """``voice``: a name, a mixture like ``a:0.7+b:0.3`` (equal parts without
        numbers), and after a slash whose prosody it takes on, by half."""
        timbre, _, prosody = voice.partition("/")
        parts = [part.partition(":") for part in timbre.split("+")]
        shares = [float(share or 1 / len(parts)) for _, _, share in parts]

        def row(name: str) -> NDArray[np.float32]:
            known = self.styles[name]
            return known[min(tokens, len(known)) - 1]

        mixed = sum(
            share * row(name) for (name, _, _), share in zip(parts, shares, strict=True)
        )
        style = np.array(mixed, np.float32)
        if prosody:
            style[TIMBRE:] = (style[TIMBRE:] + row(prosody)[TIMBRE:]) / 2
        return style[None]

    def speak(self, phonemes: str, voice: str, speed: float) -> Spoken:
        known = [c for c in phonemes if c in self.vocabulary]
        ids = [self.vocabulary[c] for c in known]
        audio, durations = self._run(
            {
                "tokens": np.array([[0, *ids, 0]], np.int64),
                "style": self.style(voice, len(ids)),
                "speed": np.array([speed], np.float32),
            },
        )
        ends = np.cumsum(durations.reshape(-1)) * DURATION_SAMPLES
        starts = np.concatenate([[0], ends[:-1]])
        # The first and last token are the silence around the sentence.
        times = np.stack([starts, ends], 1)[1:-1]
        return finish(audio.reshape(-1), known, ids, times)


def _read(folder: Path) -> bytes:
    return (folder / "model.onnx").read_bytes()


def finish(
    audio: NDArray[np.float32],
    known: list[str],
    ids: list[int],
    times: NDArray[np.float64],
) -> Spoken:
    """Cut the silent ends, bring to the level, group phonemes to words."""
    loud = np.flatnonzero(np.abs(audio) > SILENCE * np.abs(audio).max())
    first = max(int(loud[0]) - MARGIN, 0)
    last = min(int(loud[-1]) + MARGIN, len(audio))
    audio = audio[first:last]
    times = np.clip((times - first) / SAMPLE_RATE, 0, len(audio) / SAMPLE_RATE)
    words: list[tuple[float, float]] = []
    sounds: list[tuple[int, float, float]] = []
    open_word = False
    for symbol, code, (start, end) in zip(known, ids, times.tolist(), strict=True):
        if symbol == " ":
            open_word = False
        elif symbol.isalpha() or symbol in "ˈˌːᵊ":
            words = (
                [*words[:-1], (words[-1][0], end)]
                if open_word
                else [*words, (start, end)]
            )
            open_word = True
            if symbol not in "ˈˌː":
                sounds.append((code, start, end))
    active = audio[np.abs(audio) > 0.02 * np.abs(audio).max()]
    audio = audio * (LEVEL / max(float(np.sqrt(np.mean(active**2))), 1e-4))
    peak = float(np.abs(audio).max())
    pcm = (audio * min(1.0, 0.98 / peak) * 32767).astype(np.int16)
    return Spoken(pcm, words, sounds)
