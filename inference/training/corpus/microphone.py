"""What a microphone makes of a voice: level, tone, room, noise, overload, echo.

Works on whole dialogues on the device, each with faults of its own. Must not depend on
plans or text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.timing import SAMPLE_RATE

EQ_POINTS = 10
ROOM_SECONDS = 0.5
ECHO_SAMPLES = 1200


class Draws:
    """Random values, one per dialogue."""

    def __init__(self, batch: int, generator: torch.Generator) -> None:
        self.batch, self.generator = batch, generator

    def uniform(self, low: float, high: float, width: int = 1) -> Tensor:
        """[batch, width]"""
        device = self.generator.device
        shape = (self.batch, width)
        drawn = torch.rand(shape, generator=self.generator, device=device)
        return low + (high - low) * drawn

    def chance(self, p: float) -> Tensor:
        return self.uniform(0, 1) < p

    def normal(self, width: int) -> Tensor:
        device = self.generator.device
        shape = (self.batch, width)
        return torch.randn(shape, generator=self.generator, device=device)


def through_microphone(
    sound: Tensor, agent: Tensor, generator: torch.Generator
) -> Tensor:
    """User and agent [B, T] to what the microphone gives, [B, T] within ±1."""
    batch, samples = sound.shape
    draws = Draws(batch, generator)
    heard = sound * 10 ** (draws.uniform(-12, 5) / 20)
    size = samples + int(ROOM_SECONDS * SAMPLE_RATE)
    spectrum = torch.fft.rfft(heard, n=size)
    spectrum = spectrum * _tone(draws, spectrum.shape[-1])
    spectrum = spectrum * torch.fft.rfft(_room(draws), n=size)
    heard = torch.fft.irfft(spectrum, n=size)[:, :samples]
    drive = 10 ** (draws.uniform(0, 18) / 20)
    overloaded = torch.tanh(heard * drive) / drive.sqrt()
    heard = torch.where(draws.chance(0.12), overloaded, heard)
    noise = draws.normal(samples)
    # Half of the rooms rumble rather than hiss.
    dull = torch.nn.functional.avg_pool1d(noise[:, None], 15, 1, 7)[:, 0] * 3
    noise = torch.where(draws.chance(0.5), dull, noise)
    heard = heard + draws.chance(0.7) * 10 ** (draws.uniform(-85, -42) / 20) * noise
    echo = torch.roll(agent, ECHO_SAMPLES, dims=-1)
    echoing = draws.chance(0.15) * 10 ** (draws.uniform(-45, -26) / 20)
    return (heard + echoing * echo).clamp(-1, 1)


def _tone(draws: Draws, bins: int) -> Tensor:
    """Gain of each frequency [B, bins]: uneven in half of the dialogues, and cut at
    the top or bottom in some, as telephones and cheap headsets do."""
    device = draws.generator.device
    points = draws.uniform(-8, 8, EQ_POINTS) * draws.chance(0.5)
    hertz = torch.linspace(1, SAMPLE_RATE / 2, bins, device=device)
    spot = (hertz.log2() - 6).clamp(0) / 7.6 * (EQ_POINTS - 1)
    low = spot.long().clamp(max=EQ_POINTS - 2)
    curve = points[:, low] + (spot - low) * (points[:, low + 1] - points[:, low])
    top = torch.where(draws.chance(0.3), draws.uniform(3300, 8000), 1e5)
    bottom = torch.where(draws.chance(0.3), draws.uniform(80, 320), 1.0)
    steep = 1 / (1 + (hertz / top) ** 12) / (1 + (bottom / hertz) ** 6)
    return steep * 10 ** (curve / 20)


def _room(draws: Draws) -> Tensor:
    """Impulse responses [B, samples]: the voice itself, and in some dialogues the
    decaying noise that a room adds to it."""
    samples = int(ROOM_SECONDS * SAMPLE_RATE)
    device = draws.generator.device
    time = torch.arange(samples, device=device) / SAMPLE_RATE
    decay = draws.uniform(0.1, 0.5)  # seconds to -60 dB
    tail = draws.normal(samples) * 10 ** (-3 * time / decay)
    tail = tail * (time > draws.uniform(0.001, 0.006))
    tail = tail / tail.pow(2).sum(-1, keepdim=True).sqrt().clamp(min=1e-6)
    level = draws.chance(0.45) * 10 ** (draws.uniform(-22, -2) / 20)
    room = tail * level
    room[:, 0] += 1
    return room / room.pow(2).sum(-1, keepdim=True).sqrt()
