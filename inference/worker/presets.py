"""The preset voices and the tokenizer of the running model, for the site over HTTP.

Only voices that fit the model are listed. :mod:`inference.prompts.preset_voices` finds
their files.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path

from inference.errors import PersonaplexError, VoicePromptError
from inference.loading.checkpoint import read_config
from inference.loading.safetensors_file import CheckpointError
from inference.prompts.preset_voices import (
    PresetVoice,
    preset_voice,
    preset_voices,
    seconds_of,
)
from inference.worker.protocol import Preset

log = logging.getLogger(__name__)

Mark = tuple[Path, int, int]  # of a file that did not change since: path, size, time


class Presets:
    """``model``: its directory; None for an engine without one."""

    def __init__(self, model: Path | None) -> None:
        self._model = model
        self._looked: dict[Mark, Preset | None] = {}

    def listing(self) -> list[dict[str, object]]:
        """Looks at the folder each time: an imported voice appears without a restart.
        Reads new files, seconds for many large ones, so not on the event loop."""
        voices = [] if self._model is None else preset_voices(self._model)
        found = [self._look(voice) for voice in voices]
        return [asdict(listed) for listed in found if listed is not None]

    def content(self, name: str) -> bytes:
        """Raises VoicePromptError if there is none of this name."""
        if self._model is None:
            raise VoicePromptError("this worker's model has no directory")
        return preset_voice(self._model, name).read()

    def tokenizer(self) -> bytes:
        """The SentencePiece file; CheckpointError where there is none."""
        if self._model is None:
            raise CheckpointError("this worker's model has no directory")
        path = self._model / read_config(self._model).tokenizer
        try:
            return path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from error

    def _look(self, voice: PresetVoice) -> Preset | None:
        """None for a file that is no voice of this model, which is logged once."""
        try:
            stat = voice.path.stat()
        except OSError:  # gone since it was listed
            return None
        mark = (voice.path, stat.st_size, stat.st_mtime_ns)
        if mark not in self._looked:
            self._looked[mark] = self._read(voice)
        return self._looked[mark]

    def _read(self, voice: PresetVoice) -> Preset | None:
        assert self._model is not None
        try:
            data = voice.read()
            seconds = seconds_of(data, read_config(self._model))
        except PersonaplexError as error:
            log.warning("The voice %s is not offered: %s", voice.path, error)
            return None
        digest = hashlib.sha256(data).hexdigest()
        return Preset(voice.name, voice.label, digest, round(seconds, 2))
