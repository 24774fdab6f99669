"""Answer a recording: the offline evaluation of PersonaPlex, by the engine that serves.

The agent hears the first channel of --input, in any format, and its answer is written
as a WAV of the same length, each frame of 80 ms beside the newest user frame that the
answer has heard; --as-reference writes it a frame later, as NVIDIA's code does.
--output-text gets a JSON list of one text token per
80 ms frame, --output-tokens a NumPy array of uint16 [17, frames]: text, the agent's 8
codes and the user's 8 codes of every step.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from inference.commands._options import add_model_options, whole
from inference.errors import PersonaplexError
from inference.timing import FRAME_SECONDS, SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inference.engine.api import SessionConfig
    from inference.engine.engine import Engine
    from inference.offline import Talk

PROMPT = (
    "You are a wise and friendly teacher. Answer questions or provide advice in a "
    "clear and engaging way."
)
WEIGHTS = ("fp32", "bf16", "int8", "fp8", "int4")


class CantWriteOutput(PersonaplexError):
    code = "cant_write"
    text = "Choose a file in a folder that is there and that you may write to."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--voice",
        default="",
        help="a voice of the model (see `voices`), a .pt file, or a sound file of 3 to "
        "20 s of speech (default: none)",
    )
    add("--text-prompt", default=PROMPT, help="the role prompt (default: %(default)s)")
    add("--input", type=Path, required=True, metavar="FILE", help="the user's sound")
    add("--output", type=Path, required=True, metavar="FILE.wav")
    add("--output-text", type=Path, metavar="FILE.json")
    add("--output-tokens", type=Path, metavar="FILE.npy")
    add(
        "--as-reference",
        action="store_true",
        help="write sound and text a frame (80 ms) later, as the published code does",
    )
    add("--greedy", action="store_true", help="always the likeliest token")
    add(
        "--seed",
        type=int,
        default=-1,
        help="the same seed gives the same answer; -1: one by chance (default)",
    )
    add("--temp-text", type=float, default=0.7)
    add("--temp-audio", type=float, default=0.8)
    add("--top-k-text", type=whole(1, 1_000_000), default=25)
    add("--top-k-audio", type=whole(1, 1_000_000), default=250)
    add(
        "--weights",
        choices=WEIGHTS,
        help="number format of the language model (default: fp32 on a CPU, bf16 on a "
        "GPU; int8, fp8 and int4 need a GPU, and on one fp32 is very slow)",
    )
    add(
        "--kv",
        choices=("bf16", "int8"),
        default="bf16",
        help="how a GPU remembers the conversation (default: %(default)s)",
    )
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from inference.engine.api import Sampling, SessionConfig
    from inference.sound_files import as_int16, read_sound

    _check_outputs(arguments)
    user = as_int16(read_sound(arguments.input))
    engine = _engine(arguments)
    seed = secrets.randbits(32) if arguments.seed == -1 else arguments.seed
    sampling = Sampling(
        temperature_text=arguments.temp_text,
        temperature_audio=arguments.temp_audio,
        top_k_text=arguments.top_k_text,
        top_k_audio=arguments.top_k_audio,
        greedy=arguments.greedy,
        seed=seed,
    )
    config = SessionConfig(
        "talk", arguments.text_prompt, _voice(arguments, engine), sampling
    )
    engine.warm_up()
    talked, priming, spent = _timed(engine, config, user, arguments.as_reference)
    _write(arguments, talked)
    length = len(user) / SAMPLE_RATE
    how = "greedy" if arguments.greedy else f"seed {seed}"
    sys.stdout.write(
        f"{arguments.output}: {length:.2f} s of sound in {spent:.2f} s, real-time "
        f"factor {spent / length:.3f} (below 1 keeps up), {how}, persona prompt in "
        f"{priming:.2f} s, {engine.info.model} on {engine.info.device}\n"
    )
    return 0


def _engine(arguments: argparse.Namespace) -> Engine:
    import torch

    from inference.commands._engine import chosen_engine, fast_engine, load
    from inference.commands._refusals import starting_fast
    from inference.engine.engine import Engine
    from inference.engine.gpu.captured import CapturedSlotBatch

    def fast(weights: str) -> Engine:
        with starting_fast():
            return fast_engine(arguments, weights, 1)

    return chosen_engine(
        arguments,
        lambda dtype: Engine(load(arguments, dtype), 1, arguments.threads),
        fast,
        lambda why: Engine(
            load(arguments, torch.bfloat16), 1, new_batch=CapturedSlotBatch
        ),
    )


def _timed(
    engine: Engine, config: SessionConfig, user: NDArray[np.int16], as_reference: bool
) -> tuple[Talk, float, float]:
    """The talk, and the seconds of its persona prompt and of its frames."""
    from inference.console import Bar
    from inference.offline import talk

    began = primed = time.perf_counter()
    with Bar("talk", len(user) / SAMPLE_RATE, "s") as bar:

        def progress(frames: int) -> None:
            nonlocal primed
            if frames == 0:
                primed = time.perf_counter()
            bar.to(frames * FRAME_SECONDS)

        talked = talk(engine, config, user, progress, as_reference=as_reference)
    return talked, primed - began, time.perf_counter() - primed


def _voice(arguments: argparse.Namespace, engine: Engine) -> bytes | None:
    """A preset's bytes, a .pt file's, or those made of a recording."""
    from inference.loading.checkpoint import model_folder
    from inference.prompts.preset_voices import PresetVoice, preset_voice
    from inference.sound_files import at_voice_loudness, read_sound

    wanted: str = arguments.voice
    if not wanted:
        return None
    file = Path(wanted)
    if not file.is_file():
        # The reference calls its packaged voices by the names of their files.
        name = wanted.removesuffix(".pt")
        folder = model_folder(arguments.model, arguments.models_dir)
        return preset_voice(folder, name).read()
    if file.suffix == ".pt":
        return PresetVoice(file.stem, file).read()
    encoder = engine.voice_encoder(at_voice_loudness(read_sound(file)))
    while encoder.step() < 1:
        pass
    return encoder.result()


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Before the work, not after it."""
    for file in (arguments.output, arguments.output_text, arguments.output_tokens):
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise CantWriteOutput(f"{file} can't be written")


def _write(arguments: argparse.Namespace, talked: Talk) -> None:
    import numpy as np

    from inference.sound_files import write_wav

    try:
        write_wav(arguments.output, talked.pcm)
        if arguments.output_text is not None:
            arguments.output_text.write_text(talked.texts_json() + "\n")
        if arguments.output_tokens is not None:
            with arguments.output_tokens.open("wb") as file:  # np.save adds a suffix
                np.save(file, talked.tokens)
    except OSError as error:
        raise CantWriteOutput(f"{error.filename}: {error.strerror}") from error
