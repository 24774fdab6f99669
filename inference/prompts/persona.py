"""The persona prompt: a voice and a role prompt as frames that the model is fed first.

Defines their order and content (spec section 9.1) and the limits on their length. Must
not depend on sessions or run the network.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from inference.errors import RolePromptError, VoicePromptError
from inference.network.config import PAD, ModelConfig
from inference.network.timeline import (
    make_frames,
    ring_row,
    rows_after,
    rows_of_frames,
)
from inference.prompts.prompt_text import (
    SPACER_FRAMES,
    prompt_frames,
    room_for_prompts,
    wrapped,
)
from inference.prompts.tokenizer import Tokenizer
from inference.prompts.voice_file import VoicePrompt
from inference.timing import FRAME_SECONDS


@dataclass(frozen=True)
class FillerCodes:
    """The codes of both sides where neither speaks, one frame each [8]."""

    silence: Tensor  # of the agent
    sine: Tensor  # of the user: the reference plays a tone, not silence

    def frames(self, count: int, text: Tensor | int = PAD) -> Tensor:
        return make_frames(count, text=text, agent=self.silence, user=self.sine)

    def voice_frames(self, codes: Tensor) -> Tensor:
        """Codes of a recording [V, 8] to the frames [V, 17] that hold its voice."""
        return make_frames(codes.shape[0], text=PAD, agent=codes, user=self.sine)


@dataclass(frozen=True)
class PersonaPrompt:
    """What is fed before a conversation: first ``embeddings`` (of a voice file), then
    ``rows``, at positions 0, 1, 2 … ``last`` is complete but not fed: the first frame
    of the conversation feeds it, together with ``carry``, what it forces of the next.
    """

    key: str  # equal for equal prompts; under it the prompt's KV may be kept
    embeddings: Tensor | None  # bf16 [E, dim]
    rows: Tensor  # int64 [R, 17]
    last: Tensor  # int64 [17]
    carry: Tensor  # int64 [17]

    @property
    def fed(self) -> int:
        voiced = 0 if self.embeddings is None else self.embeddings.shape[0]
        return voiced + self.rows.shape[0]

    @property
    def frames(self) -> int:
        return self.fed + 1

    def followed_by(self, config: ModelConfig, record: Tensor) -> PersonaPrompt:
        """What is fed before frame n of a conversation whose steps recorded [n, 17]:
        the prompt, and all rows of the conversation but the last."""
        rows, carry = rows_after(config, self.carry, record)
        fed = torch.cat((self.rows, self.last[None], rows))
        return PersonaPrompt("", self.embeddings, fed[:-1], fed[-1], carry)


def prompt_limit(config: ModelConfig) -> int:
    """Frames that a persona prompt may have."""
    return prompt_frames(config.temporal.context)


class PromptModel(Protocol):
    """What a persona prompt is built with; a loaded Model has it."""

    @property
    def config(self) -> ModelConfig: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def filler(self) -> FillerCodes: ...


def persona_prompt(
    model: PromptModel, role_prompt: str, voice: VoicePrompt | None = None
) -> PersonaPrompt:
    """RolePromptError or VoicePromptError for what does not fit this model."""
    config, tokenizer, filler = model.config, model.tokenizer, model.filler
    ids = tokenizer.encode(wrapped(role_prompt))
    voiced = 0 if voice is None else voice.frames
    _check_length(config, voiced, len(ids))
    frames = torch.cat(
        (
            filler.frames(SPACER_FRAMES),
            filler.frames(len(ids), torch.tensor(ids, dtype=torch.int64)),
            filler.frames(SPACER_FRAMES),
        )
    )
    key = _key(ids, voice)
    if voice is None:
        rows, carry = rows_of_frames(config, frames)
        return PersonaPrompt(key, None, rows[:-1], rows[-1], carry)
    rows, carry = _rows_after_voice(config, voice, frames)
    return PersonaPrompt(key, voice.embeddings, rows[:-1], rows[-1], carry)


def _rows_after_voice(
    config: ModelConfig, voice: VoicePrompt, frames: Tensor
) -> tuple[Tensor, Tensor]:
    """The voice's own last row, which its file's embeddings stop short of, then the
    rows of the frames that follow it; and what they force of the row after those."""
    row, carry = ring_row(config, voice.ring, voice.frames)
    delayed = torch.tensor(config.delays) > 0
    # A row takes the delayed streams from the frame before its own.
    before = torch.cat((carry[None], frames))
    rows = torch.where(delayed, before[:-1], frames)
    return torch.cat((row[None], rows)), torch.where(delayed, before[-1], carry)


def _check_length(config: ModelConfig, voiced: int, ids: int) -> None:
    room = room_for_prompts(config.temporal.context)
    if voiced > room:
        raise VoicePromptError(
            f"voice prompt of {voiced} frames, at most {room} fit",
            text=f"This voice is {voiced * FRAME_SECONDS:.0f} s long, and the model "
            f"that is running takes {room * FRAME_SECONDS:.0f} s. Shorten it.",
        )
    if ids > room - voiced:
        raise RolePromptError(
            f"role prompt of {ids} tokens, {room - voiced} fit",
            text=f"The role prompt is {ids} tokens long, and "
            f"{'with this voice ' if voiced else ''}the model that is running takes "
            f"{room - voiced}. Please shorten it.",
        )


def _key(ids: list[int], voice: VoicePrompt | None) -> str:
    digest = hashlib.sha256(repr(ids).encode())
    if voice is not None:
        digest.update(voice.digest.encode() or _content(voice))
    return digest.hexdigest()


def _content(voice: VoicePrompt) -> bytes:
    """Of a voice that comes from no file."""
    embeddings = voice.embeddings.to("cpu", torch.float32).numpy()
    return hashlib.sha256(embeddings.tobytes() + voice.ring.numpy().tobytes()).digest()
