"""The words of a persona prompt: how they are marked, counted and limited.

Must not depend on torch: the site counts with it while a role prompt is written.
"""

from __future__ import annotations

import sentencepiece

SPACER_FRAMES = 6  # 0.48 s of silence after the voice, and again after the role prompt
MARK = "<system>"


def wrapped(role_prompt: str) -> str:
    """The role prompt between marks, unless its author put them there (spec 9.2)."""
    text = role_prompt.strip()
    if not text or (text.startswith(MARK) and text.endswith(MARK)):
        return text
    return f"{MARK} {text} {MARK}"


def prompt_frames(context: int) -> int:
    """The persona prompt may fill half of the context, the rest is to talk in."""
    return context // 2


def room_for_prompts(context: int) -> int:
    """Frames that voice and role prompt may have together: a token takes one."""
    return prompt_frames(context) - 2 * SPACER_FRAMES


class TokenCounter:
    """Counts as the model will, by its own SentencePiece file."""

    def __init__(self, content: bytes) -> None:
        """ValueError where the content is no such file."""
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(content)
        except (OSError, RuntimeError) as error:
            raise ValueError("no SentencePiece model") from error
        if not len(self._model):
            raise ValueError("a SentencePiece model without pieces")

    def tokens_of(self, role_prompt: str) -> int:
        """ValueError for text that is no Unicode: half of a surrogate pair."""
        return len(self._model.encode(wrapped(role_prompt)))
