"""Add a voice prompt that others made to a model's voices.

FILE is a .pt as PersonaPlex writes it, or a .tgz of several. Nothing in it is run: it
may hold tensors only, of exactly the model's shapes. The voice then has the file's
name, or --name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from inference.commands._options import add_model_option
from inference.errors import VoicePromptError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--name", help="of the voice; only for a .pt")
    parser.add_argument(
        "--replace", action="store_true", help="overwrite voices of the same name"
    )
    add_model_option(parser)


def run(arguments: argparse.Namespace) -> int:
    from inference.loading.checkpoint import model_folder, read_config
    from inference.prompts.preset_voices import add_voices

    folder = model_folder(arguments.model, arguments.models_dir)
    voices = _voices_of(arguments.file, arguments.name)
    try:
        names = add_voices(folder, voices, read_config(folder), arguments.replace)
    except OSError as error:
        raise VoicePromptError(
            f"{error.filename or folder}: {error.strerror}",
            text="The model's folder can't be written to.",
        ) from error
    sys.stdout.write(f"{folder}: added {', '.join(names)}\n")
    return 0


def _voices_of(file: Path, name: str | None) -> Iterable[tuple[str, bytes]]:
    from inference.hub.unpack import voices_in
    from inference.prompts.preset_voices import PresetVoice

    if file.suffix in (".tgz", ".gz"):
        return voices_in(file)
    return [(name or file.stem, PresetVoice(file.stem, file).read())]
