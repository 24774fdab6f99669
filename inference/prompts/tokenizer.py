"""Text to tokens and, live, tokens to text.

Wraps the SentencePiece model and decides which tokens are spoken. Must not depend on
frames.
"""

from __future__ import annotations

import codecs
from pathlib import Path

import sentencepiece

from inference.errors import RolePromptError
from inference.network.config import BOS, EOS, EPAD, PAD, ConfigError

SPACE = "\u2581"  # SentencePiece's mark of a space
# Byte pieces can spell control characters, which no page or database wants.
CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x0A}


class Tokenizer:
    def __init__(self, path: Path, cardinality: int) -> None:
        """ConfigError unless the file holds exactly ``cardinality`` pieces."""
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.Load(str(path))
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{path.name} is no SentencePiece model") from error
        if len(self._model) != cardinality:
            raise ConfigError(
                f"{path.name} has {len(self._model)} pieces, "
                f"config.json says text_cardinality {cardinality}"
            )
        self._check_pieces(path.name)

    def _check_pieces(self, name: str) -> None:
        """Decode every piece now: one that can't be must not turn up in the middle of a
        conversation."""
        for token in range(len(self._model)):
            try:
                self.piece(token)
                self.byte(token)
            except ValueError as error:  # also UnicodeDecodeError
                raise ConfigError(f"{name}: piece {token}: {error}") from error

    def encode(self, text: str) -> list[int]:
        try:
            return list(self._model.encode(text))
        except (UnicodeEncodeError, RuntimeError) as error:
            raise RolePromptError(
                f"role prompt can't be encoded: {error}",
                text="The role prompt contains characters that can't be read. "
                "Please type it again.",
            ) from error

    def is_spoken(self, token: int) -> bool:
        """Whether a token of the text stream is text, not padding or control."""
        if token in (EPAD, BOS, EOS, PAD):
            return False
        return not self._model.IsControl(token)

    def piece(self, token: int) -> str:
        """As stored, but with a plain space; a byte piece reads like ``<0xE2>``."""
        return str(self._model.IdToPiece(token)).replace(SPACE, " ")

    def byte(self, token: int) -> bytes | None:
        """The byte that a byte piece stands for; None for any other piece."""
        if not self._model.IsByte(token):
            return None
        return bytes([int(str(self._model.IdToPiece(token))[1:-1], 16)])


class TextStream:
    """One session's text tokens to pieces of text. Bytes wait until they make up whole
    characters; what never does becomes U+FFFD."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The text that this token completes, often ""; a leading space starts a new
        word."""
        if not self._tokenizer.is_spoken(token):
            return ""  # padding lies between the bytes of one character, too
        byte = self._tokenizer.byte(token)
        if byte is not None:
            return self._bytes.decode(byte).translate(CONTROLS)
        unfinished = self._bytes.decode(b"", final=True)
        self._bytes.reset()
        return unfinished + self._tokenizer.piece(token)
