"""Plans to sound to codes, on the device: what the microphone and the voice say.

Owns the mix, the microphone's faults and the pool of encoded dialogues. Tokens are
always those of really mixed sound: pasted ones do not stand in for them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.network.mimi import Mimi
from inference.timing import FRAME_SAMPLES, SAMPLE_RATE
from inference.training.lm_plans import (
    AGENT,
    PROMPT_TOKENS,
    USER,
    VARIANTS,
    VOICE_FRAMES,
    Pieces,
    PlanBatch,
)

ENCODE_ROWS = 16
LOUD = 10 ** (-50 / 20)  # RMS of a frame in which the agent is heard
EQ_POINTS = 10


def mix(
    bank: Tensor, pieces: Pieces, batch: int, channels: int, samples: int
) -> Tensor:
    """[batch, channels, samples] from int16 ``bank`` [N]."""
    device = bank.device
    where = torch.from_numpy(pieces.where).to(device)
    rate = torch.from_numpy(pieces.rate).to(device)
    row, channel, at, source, length, fade = where.unbind(1)
    owner = torch.repeat_interleave(torch.arange(len(where), device=device), length)
    first = length.cumsum(0) - length
    offset = torch.arange(len(owner), device=device) - first[owner]
    place = offset.float() * rate[owner]
    whole = place.floor()
    part = place - whole
    index = (source[owner] + whole.long()).clamp(max=len(bank) - 2)
    left, right = bank[index].float(), bank[index + 1].float()
    sound = (left + part * (right - left)) / 32768
    edge = torch.minimum(offset + 1, length[owner] - offset).float()
    sound = sound * (edge / fade[owner]).clamp(max=1)
    target = at[owner] + offset
    inside = target < samples
    flat = (row * channels + channel)[owner] * samples + target
    out = torch.zeros(batch * channels * samples, device=device)
    out.index_add_(0, flat[inside], sound[inside])
    return out.view(batch, channels, samples)


def through_microphone(
    sound: Tensor, agent: Tensor, generator: torch.Generator
) -> Tensor:
    """Level, tone, room noise and a little echo of the agent, each dialogue its own."""
    batch, samples = sound.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        shape = (batch, *(shape or (1,)))
        drawn = torch.rand(shape, generator=generator, device=sound.device)
        return low + (high - low) * drawn

    heard = sound * 10 ** (uniform(-10, 5) / 20)
    points = uniform(-7, 7, EQ_POINTS) * (uniform(0, 1) < 0.5)
    spectrum = torch.fft.rfft(heard)
    bins = torch.linspace(1, SAMPLE_RATE / 2, spectrum.shape[-1], device=sound.device)
    spot = (bins.log2() - 6).clamp(0) / 7.6 * (EQ_POINTS - 1)
    low = spot.long().clamp(max=EQ_POINTS - 2)
    curve = points[:, low] + (spot - low) * (points[:, low + 1] - points[:, low])
    heard = torch.fft.irfft(spectrum * 10 ** (curve / 20), n=samples)
    noise = torch.randn(batch, samples, generator=generator, device=sound.device)
    smooth = uniform(0, 1) < 0.5  # half of the rooms rumble rather than hiss
    dull = torch.nn.functional.avg_pool1d(noise[:, None], 15, 1, 7)[:, 0] * 3
    noise = torch.where(smooth, dull, noise)
    heard = heard + (uniform(0, 1) < 0.7) * 10 ** (uniform(-85, -42) / 20) * noise
    echo = torch.roll(agent, 1200, dims=-1)
    echoing = (uniform(0, 1) < 0.15) * 10 ** (uniform(-45, -26) / 20)
    return (heard + echoing * echo).clamp(-1, 1)


@torch.no_grad()
def encode(codec: Mimi, sound: Tensor) -> Tensor:
    """[N, T] to codes int16 [N, 8, F]."""
    parts = [
        codec.encode(chunk[:, None]).to(torch.int16)
        for chunk in sound.split(ENCODE_ROWS)
    ]
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
        self.loud = new(frames, dtype=torch.bool)
        self.prompt = new(VARIANTS, PROMPT_TOKENS)
        self.prompt_tokens, self.voice_frames = new(VARIANTS), new()
        self.filled = self.next = 0

    @torch.no_grad()
    def renew(
        self, bank: Tensor, codec: Mimi, plans: PlanBatch, generator: torch.Generator
    ) -> None:
        batch = len(plans.heard)
        samples = self.frames * FRAME_SAMPLES
        both = mix(bank, plans.talk, batch, 2, samples)
        agent = both[:, AGENT]
        user = through_microphone(both[:, USER], agent, generator)
        voice = mix(bank, plans.voice, batch, 1, VOICE_FRAMES[1] * FRAME_SAMPLES)[:, 0]
        slot = slice(self.next, self.next + batch)
        self.agent[slot] = encode(codec, agent)
        self.user[slot] = encode(codec, user)
        self.voice[slot] = encode(codec, voice)
        power = agent.view(batch, self.frames, FRAME_SAMPLES).pow(2).mean(-1).sqrt()
        self.loud[slot] = power > LOUD
        for name in ("text", "heard", "prompt", "prompt_tokens", "voice_frames"):
            values = torch.from_numpy(getattr(plans, name))
            getattr(self, name)[slot] = values.to(torch.int16).to(bank.device)
        self.changed[slot] = torch.from_numpy(plans.changed).to(bank.device)
        self.filled = max(self.filled, self.next + batch)
        self.next = (self.next + batch) % self.size
