"""The voice prompts a worker keeps in memory, by digest; a bounded number of bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from inference.errors import VoicePromptError


class VoiceCache:
    """Least recently used first out, bounded by bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._prompts: OrderedDict[str, bytes] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._prompts)

    def get(self, digest: str) -> bytes | None:
        prompt = self._prompts.get(digest)
        if prompt is not None:
            self._prompts.move_to_end(digest)
        return prompt

    def add(self, digest: str, prompt: bytes) -> None:
        """Keep ``prompt``; VoicePromptError when it is not what ``digest`` says."""
        found = hashlib.sha256(prompt).hexdigest()
        if found != digest:
            raise VoicePromptError(f"voice {digest:.12} came with digest {found:.12}")
        if digest in self._prompts or len(prompt) > self._limit:
            return
        self._prompts[digest] = prompt
        self.bytes += len(prompt)
        while self.bytes > self._limit:
            _, dropped = self._prompts.popitem(last=False)
            self.bytes -= len(dropped)
