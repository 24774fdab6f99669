"""List the voices that a model brings along.

One line each: name, length and what it is. Import others with import-voice.
"""

from __future__ import annotations

import argparse
import sys

from inference.commands._options import add_model_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)


def run(arguments: argparse.Namespace) -> int:
    from inference.errors import VoicePromptError
    from inference.loading.checkpoint import model_folder, read_config
    from inference.prompts.preset_voices import preset_voices, seconds_of

    folder = model_folder(arguments.model, arguments.models_dir)
    config = read_config(folder)
    voices = preset_voices(folder)
    if not voices:
        sys.stderr.write(f"{folder} brings no voices along.\n")
    for voice in voices:
        try:
            length = f"{seconds_of(voice.read(), config):.1f} s"
        except VoicePromptError as error:
            length = f"unusable: {error}"
        sys.stdout.write(f"{voice.name}\t{length}\t{voice.label}\n")
    return 0
