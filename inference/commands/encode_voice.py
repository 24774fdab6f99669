"""Encode a prepared recording to a voice prompt, without a worker.

IN is 24 kHz mono speech, already at -24 LUFS: a .wav of 16-bit samples, a .npy of
float32, or raw little-endian float32 (.f32). Prints JSON lines on standard output:
{"progress": 0.4} ..., and at last {"fingerprint": "..."}, the model that the voice
prompt fits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.commands._options import add_model_options
from inference.errors import PersonaplexError
from inference.timing import SAMPLE_RATE


class RecordingError(PersonaplexError):
    code = "recording"
    text = "Give 24 kHz mono speech as 16-bit .wav, float32 .npy or raw .f32."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path, help="the recording")
    parser.add_argument(
        "--out", metavar="OUT", type=Path, required=True, help="the .pt to write"
    )
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> int:
    pcm = read_recording(arguments.source)
    import torch

    from inference.commands._engine import load
    from inference.engine.engine import Engine

    with torch.inference_mode():
        engine = Engine(load(arguments), 1, arguments.threads)
        encoder = engine.voice_encoder(pcm)
        done = 0.0
        while done < 1:
            done = encoder.step()
            _say(progress=round(done, 4))
        prompt = encoder.result()
    # A reader of OUT never sees half of it.
    unfinished = arguments.out.with_name(arguments.out.name + ".part")
    unfinished.write_bytes(prompt)
    os.replace(unfinished, arguments.out)
    _say(fingerprint=engine.info.fingerprint)
    return 0


def read_recording(path: Path) -> NDArray[np.float32]:
    try:
        match path.suffix:
            case ".wav":
                pcm = _read_wav(path)
            case ".npy":
                pcm = np.load(path, allow_pickle=False)
            case _:
                pcm = np.fromfile(path, "<f4")
    except (OSError, ValueError, EOFError, wave.Error) as error:
        raise RecordingError(f"{path}: {error}") from error
    if pcm.dtype != np.float32 or pcm.ndim != 1 or not len(pcm):
        raise RecordingError(f"{path}: {pcm.dtype} {list(pcm.shape)}")
    if not np.isfinite(pcm).all():
        raise RecordingError(f"{path}: samples that are no numbers")
    return pcm


def _read_wav(path: Path) -> NDArray[np.float32]:
    with wave.open(str(path)) as file:
        found = file.getframerate(), file.getnchannels(), file.getsampwidth()
        if found != (SAMPLE_RATE, 1, 2):
            rate, channels, width = found
            raise ValueError(f"{rate} Hz, {channels} channels, {8 * width} bits")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / np.float32(32768)


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()
