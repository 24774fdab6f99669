"""Plans to sound to codes, on the device.

Mixes dialogues and holds the pool of encoded ones. Tokens are always encoded from mixed
sound, never pasted together from those of single utterances.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.network.mimi import Mimi
from inference.timing import FRAME_SAMPLES
from inference.training.corpus.microphone import through_microphone
from inference.training.corpus.plans import (
    AGENT,
    PROMPT_TOKENS,
    USER,
    VARIANTS,
    VOICE_FRAMES,
    Pieces,
    PlanBatch,
)
from inference.training.distributed import Ranks

ENCODE_ROWS = 8
LOUD = 10 ** (-50 / 20)  # RMS of a frame in which the agent is heard
NEAR = 12  # frames before and after those, in which it could be, too


def mix(
    corpus: Tensor, pieces: Pieces, batch: int, channels: int, samples: int
) -> Tensor:
    """[batch, channels, samples] from int16 ``corpus`` [N]."""
    device = corpus.device
    where = torch.from_numpy(pieces.where).to(device)
    rate = torch.from_numpy(pieces.rate).to(device)
    row, channel, at, source, length, fade = where.unbind(1)
    owner = torch.repeat_interleave(torch.arange(len(where), device=device), length)
    first = length.cumsum(0) - length
    offset = torch.arange(len(owner), device=device) - first[owner]
    place = offset.float() * rate[owner]
    whole = place.floor()
    part = place - whole
    index = (source[owner] + whole.long()).clamp(max=len(corpus) - 2)
    left, right = corpus[index].float(), corpus[index + 1].float()
    sound = (left + part * (right - left)) / 32768
    edge = torch.minimum(offset + 1, length[owner] - offset).float()
    sound = sound * (edge / fade[owner]).clamp(max=1)
    target = at[owner] + offset
    inside = target < samples
    flat = (row * channels + channel)[owner] * samples + target
    out = torch.zeros(batch * channels * samples, device=device)
    out.index_add_(0, flat[inside], sound[inside])
    return out.view(batch, channels, samples)


@torch.no_grad()
def encode(codec: Mimi, sound: Tensor, rows: int = ENCODE_ROWS) -> Tensor:
    """[N, T] to codes int16 [N, 8, F]. On a GPU the network runs in fp16, which
    rounds as TF32 does; the nearest vectors are found in fp32."""
    half = torch.autocast("cuda", torch.float16, enabled=sound.is_cuda)
    parts = []
    for chunk in sound.split(rows):
        with half:
            latent = codec.encode_latent(chunk[:, None])
        parts.append(codec.quantizer.encode(latent.float()).to(torch.int16))
    return torch.cat(parts)


class DialoguePool:
    """Encoded dialogues on the device; new ones take the place of the oldest."""

    def __init__(self, size: int, frames: int, device: torch.device) -> None:
        def new(*shape: int, dtype: torch.dtype = torch.int16) -> Tensor:
            return torch.zeros(size, *shape, dtype=dtype, device=device)

        self.size, self.frames = size, frames
        self.agent, self.user = new(8, frames), new(8, frames)
        self.voice = new(8, VOICE_FRAMES[1])
        self.text, self.heard = new(VARIANTS, frames), new(frames)
        self.changed = new(VARIANTS, frames, dtype=torch.bool)
        self.near = new(frames, dtype=torch.bool)
        self.alert = new(frames, dtype=torch.bool)
        self.halt = new(frames, dtype=torch.bool)
        self.prompt = new(VARIANTS, PROMPT_TOKENS)
        self.prompt_tokens, self.voice_frames = new(VARIANTS), new()
        self.filled = self.next = 0

    @torch.no_grad()
    def renew(
        self,
        corpus: Tensor,
        codec: Mimi,
        plans: PlanBatch,
        generator: torch.Generator,
        ranks: Ranks,
    ) -> None:
        """Every rank makes some; all get them."""
        batch = len(plans.heard)
        samples = self.frames * FRAME_SAMPLES
        both = mix(corpus, plans.talk, batch, 2, samples)
        agent = both[:, AGENT]
        user = through_microphone(both[:, USER], agent, generator)
        voice = mix(corpus, plans.voice, batch, 1, VOICE_FRAMES[1] * FRAME_SAMPLES)[
            :, 0
        ]
        power = agent.view(batch, self.frames, FRAME_SAMPLES).pow(2).mean(-1).sqrt()
        fresh = {
            "agent": encode(codec, agent),
            "user": encode(codec, user),
            "voice": encode(codec, voice),
            "near": near(power > LOUD),
        }
        for name in ("text", "heard", "prompt", "prompt_tokens", "voice_frames"):
            values = torch.from_numpy(getattr(plans, name))
            fresh[name] = values.to(torch.int16).to(corpus.device)
        for name in ("changed", "alert", "halt"):
            fresh[name] = torch.from_numpy(getattr(plans, name)).to(corpus.device)
        end = self.next + batch * ranks.count
        for name, values in fresh.items():
            getattr(self, name)[self.next : end] = ranks.gathered(values)
        self.filled = max(self.filled, end)
        self.next = end % self.size


def near(loud: Tensor) -> Tensor:
    """bool [B, F]: where the agent speaks, and a second around it. What is learnt of
    its sound is chosen by this and not by whether it speaks just then: or it would
    seem to speak more often than it does, and not know when to stop."""
    wide = 2 * NEAR + 1
    return F.max_pool1d(loud[:, None].float(), wide, 1, NEAR)[:, 0] > 0
