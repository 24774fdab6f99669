"""Encoding a voice: a recording to a voice prompt file, a bounded chunk at a time.

The procedure of spec sections 9.3 and 9.4 after loudness and resampling. Must not
depend on threads or sockets.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from inference.errors import VoicePromptError
from inference.loading.checkpoint import Model
from inference.network.timeline import ring_of_frames, rows_of_frames
from inference.prompts.prompt_text import room_for_prompts
from inference.prompts.voice_file import VoicePrompt, write_voice
from inference.timing import FRAME_SAMPLES, FRAME_SECONDS

FRAMES_PER_STEP = 2  # about 10 ms on one CPU core at tiny
MIN_FRAMES = 2  # nothing of frame 0 is ever used


class VoiceEncoder:
    """``pcm``: float32 [n] at 24 kHz, mono, already at −24 LUFS. Frame by frame through
    a fresh streaming encoder, as the reference does."""

    def __init__(self, model: Model, pcm: NDArray[np.float32]) -> None:
        frames = -(-len(pcm) // FRAME_SAMPLES)
        room = room_for_prompts(model.config.temporal.context)
        if pcm.ndim != 1 or not MIN_FRAMES <= frames <= room:
            raise VoicePromptError(
                f"recording of {pcm.shape} samples",
                text=f"The voice sample must be {MIN_FRAMES * FRAME_SECONDS:.2f} to "
                f"{room * FRAME_SECONDS:.0f} s long for the model that is running.",
            )
        if not np.isfinite(pcm).all():
            raise VoicePromptError(
                "recording holds no finite numbers",
                text="The voice sample is damaged. Upload it again.",
            )
        padded = np.zeros((frames, FRAME_SAMPLES), dtype=np.float32)
        padded.reshape(-1)[: len(pcm)] = pcm
        self._model = model
        self._pcm = torch.from_numpy(padded)
        self._state = model.mimi.encoder_state(1)
        self._codes: list[torch.Tensor] = []

    @torch.inference_mode()
    def step(self) -> float:
        """Encode one chunk; the fraction done, 1.0 when there is nothing left."""
        for _ in range(FRAMES_PER_STEP):
            done = len(self._codes)
            if done == len(self._pcm):
                break
            chunk = self._pcm[done].to(self._model.device)[None, None]
            codes = self._model.mimi.encode_step(chunk, self._state)
            self._codes.append(codes[0, :, 0])
        return len(self._codes) / len(self._pcm)

    @torch.inference_mode()
    def result(self) -> bytes:
        if len(self._codes) < len(self._pcm):
            raise RuntimeError("the voice is not encoded yet")
        return write_voice(voice_of_codes(self._model, torch.stack(self._codes)))


def voice_of_codes(model: Model, codes: torch.Tensor) -> VoicePrompt:
    """Codes [V, 8] of a recording to its voice prompt."""
    frames = model.filler.voice_frames(codes.cpu())
    rows, _ = rows_of_frames(model.config, frames)
    embeddings = model.lm.embed(rows[:-1].to(model.device))
    return VoicePrompt(embeddings, ring_of_frames(model.config, frames))
