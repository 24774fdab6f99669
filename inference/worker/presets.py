"""The voices that the running model brings along, for whoever asks over HTTP.

Owns what is said of each. Which there are is :mod:`inference.voices`' business.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from inference.errors import VoicePromptError
from inference.voices import PresetVoice, preset_voice, preset_voices

Mark = tuple[Path, int, int]  # of a file that did not change since: path, size, time


class Presets:
    """``model``: its directory; None for an engine without one."""

    def __init__(self, model: Path | None) -> None:
        self._model = model
        self._digests: dict[Mark, str] = {}

    def listing(self) -> list[dict[str, str]]:
        """Anew each time, so that an imported voice appears without a restart."""
        voices = [] if self._model is None else preset_voices(self._model)
        found = []
        for voice in voices:
            try:
                digest = self._digest(voice)
            except (OSError, VoicePromptError):  # gone since it was listed
                continue
            found.append({"name": voice.name, "label": voice.label, "digest": digest})
        return found

    def content(self, name: str) -> bytes:
        """VoicePromptError for one that isn't there."""
        if self._model is None:
            raise VoicePromptError("this worker's model has no directory")
        return preset_voice(self._model, name).read()

    def _digest(self, voice: PresetVoice) -> str:
        stat = voice.path.stat()
        mark = (voice.path, stat.st_size, stat.st_mtime_ns)
        if mark not in self._digests:
            self._digests[mark] = hashlib.sha256(voice.read()).hexdigest()
        return self._digests[mark]
