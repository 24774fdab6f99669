"""The codes of silence and of the reference tone, asked of a codec.

A model's config names them where its training fixed them; this is for all others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inference.network.config import ModelConfig
from inference.network.mimi import Mimi
from inference.prompts.persona import FillerCodes
from inference.timing import FRAME_SAMPLES, SAMPLE_RATE

SETTLE_FRAMES = 12  # until the codec has forgotten that its input began
TONE_HZ, TONE_AMPLITUDE = 440.0, 0.5


def find_filler_codes(config: ModelConfig, mimi: Mimi) -> FillerCodes:
    """The config's, else those of the last frame of a second of each sound."""
    time = torch.arange(SETTLE_FRAMES * FRAME_SAMPLES) / SAMPLE_RATE
    silence = config.silence_codes or _encoded(mimi, torch.zeros_like(time))
    tone = TONE_AMPLITUDE * torch.sin(2 * math.pi * TONE_HZ * time)
    sine = config.sine_codes or _encoded(mimi, tone)
    return FillerCodes(torch.tensor(silence), torch.tensor(sine))


@torch.inference_mode()
def _encoded(mimi: Mimi, pcm: Tensor) -> tuple[int, ...]:
    device = next(mimi.parameters()).device
    codes = mimi.encode(pcm[None, None].to(device))
    return tuple(codes[0, :, -1].tolist())
