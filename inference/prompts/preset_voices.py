"""The voices in a model's directory, by name.

Lists the ``voices`` folder and adds files to it. What a file holds is read and checked
by :mod:`inference.prompts.voice_file`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inference.errors import VoicePromptError
from inference.network.config import ModelConfig
from inference.prompts.voice_file import MAX_BYTES, read_voice
from inference.prompts.voice_name import VOICE_NAME
from inference.timing import FRAME_SECONDS

FOLDER, SUFFIX = "voices", ".pt"
ARCHIVE = "voices.tgz"  # as the hub has them
MOST = 256  # more are not listed
# NATF2: natural, female, number 2. VAR: a variety of speakers.
PACKAGED = re.compile(r"(NAT|VAR)([FM])(\d+)")
STYLES, SEXES = {"NAT": "Natural", "VAR": "Variety"}, {"F": "female", "M": "male"}


@dataclass(frozen=True)
class PresetVoice:
    name: str
    path: Path

    @property
    def label(self) -> str:
        """For people: "Natural, female 2"."""
        match = PACKAGED.fullmatch(self.name)
        if match is None:
            return self.name.replace("_", " ")
        return f"{STYLES[match[1]]}, {SEXES[match[2]]} {match[3]}"

    def read(self) -> bytes:
        """VoicePromptError when the file is gone or far too large."""
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise VoicePromptError(
                f"{self.path}: {error.strerror}",
                text=f"The voice {self.name} can't be read. Choose another one.",
            ) from error


def preset_voices(model: Path) -> list[PresetVoice]:
    """Of a model's directory, by name; at most MOST."""
    found = (model / FOLDER).glob(f"*{SUFFIX}")
    fitting = (PresetVoice(file.stem, file) for file in found if file.is_file())
    named = [voice for voice in fitting if VOICE_NAME.fullmatch(voice.name)]
    return sorted(named, key=lambda voice: voice.name)[:MOST]


def preset_voice(model: Path, name: str) -> PresetVoice:
    """No path is ever built from ``name``."""
    voices = preset_voices(model)
    for voice in voices:
        if voice.name == name:
            return voice
    known = ", ".join(voice.name for voice in voices) or "none"
    packed = model / ARCHIVE
    if packed.is_file():
        known += f". {packed} is not read as it is: unpack it with import-voice"
    raise VoicePromptError(
        f"no voice {name!r:.80}; there are: {known}",
        text="This model has no voice of that name.",
    )


def seconds_of(data: bytes, config: ModelConfig) -> float:
    """How long a voice is; VoicePromptError for one that doesn't fit the model."""
    return read_voice(data, config).frames * FRAME_SECONDS


def add_voices(
    model: Path,
    voices: Iterable[tuple[str, bytes]],
    config: ModelConfig,
    replace: bool = False,
) -> list[str]:
    """Check all, then let all appear at once, so that a reader of the folder never
    sees half of one. VoicePromptError or HostileArchive: nothing was added."""
    folder, names = model / FOLDER, []
    with tempfile.TemporaryDirectory(prefix=".voices-", dir=model) as scratch:
        for name, data in voices:
            _check(folder, name, data, config, replace)
            (Path(scratch) / (name + SUFFIX)).write_bytes(data)
            names.append(name)
        folder.mkdir(exist_ok=True)
        for name in names:
            os.replace(Path(scratch) / (name + SUFFIX), folder / (name + SUFFIX))
    return sorted(names)


def _check(
    folder: Path, name: str, data: bytes, config: ModelConfig, replace: bool
) -> None:
    if not VOICE_NAME.fullmatch(name):
        raise VoicePromptError(
            f"{name!r:.80} is no name of a voice",
            text="Name the voice with letters, digits, - and _, at most 64.",
        )
    if not replace and (folder / (name + SUFFIX)).exists():
        raise VoicePromptError(
            f"there is a voice {name} already",
            text="Choose another --name, or --replace the one that is there.",
        )
    try:
        read_voice(data, config)
    except VoicePromptError as error:
        raise VoicePromptError(
            f"voice {name}: {error}",
            text="The file is no voice of the model that is chosen. Nothing was added.",
        ) from error
