"""Discriminators: networks that learn to tell a codec's sound from a recording.

Two families: spectrograms of several windows (EnCodec) and the waveform folded at
several periods (HiFi-GAN). Input is sound [B, 1, T]; must not depend on the codec.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

STFTS = (2048, 1024, 512)
PERIODS = (2, 3, 5, 7, 11)
PERIOD_WIDTHS = (1, 16, 64, 128, 256)
SLOPE = 0.2
GAIN = 16.0  # speech at -24 dBFS to about one
FAINT = 1e-5  # power of a bin, after the gain, below which nothing is raised


def prepared(layer: nn.Conv2d) -> nn.Conv2d:
    """Keeps the variance of what passes, unlike PyTorch's own weights, with which a
    discriminator says nothing at all for its first thousand steps."""
    nn.init.kaiming_normal_(layer.weight, SLOPE)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    normed: nn.Conv2d = weight_norm(layer)
    return normed


def scored(
    x: Tensor, layers: Iterable[nn.Module], last: nn.Module
) -> tuple[Tensor, list[Tensor]]:
    """The scores, and the features of every layer before them."""
    features: list[Tensor] = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    return last(x), features


class StftDiscriminator(nn.Module):
    """Looks at one spectrogram's real and imaginary parts, their magnitudes raised to
    a ``power``: below 1, what lies between the harmonics and above them counts, too."""

    def __init__(self, window: int, width: int, power: float) -> None:
        super().__init__()
        self.window, self.power = window, power
        self.register_buffer("hann", torch.hann_window(window))

        def conv(
            n_in: int, kernel: tuple[int, int], stride: int, dilation: int
        ) -> nn.Conv2d:
            padding = (dilation * (kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
            layer = nn.Conv2d(
                n_in, width, kernel, (1, stride), padding, dilation=(dilation, 1)
            )
            return prepared(layer)

        self.layers = nn.ModuleList(
            [
                conv(2, (3, 9), 1, 1),
                conv(width, (3, 9), 2, 1),
                conv(width, (3, 9), 2, 2),
                conv(width, (3, 9), 2, 4),
                conv(width, (3, 3), 1, 1),
            ]
        )
        self.last = prepared(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, sound: Tensor) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast(sound.device.type, enabled=False):
            spectrum = torch.stft(
                GAIN * sound.squeeze(1).float(),
                self.window,
                self.window // 4,
                window=self.get_buffer("hann"),
                normalized=True,
                return_complex=True,
            )
            x = torch.view_as_real(spectrum)
            if self.power < 1:
                energy = x.pow(2).sum(-1, keepdim=True) + FAINT
                x = x * energy ** ((self.power - 1) / 2)
            x = x.permute(0, 3, 2, 1)  # [B, 2, T, bins]
        x = x.contiguous(memory_format=torch.channels_last)
        return scored(x, self.layers, self.last)


class PeriodDiscriminator(nn.Module):
    """Looks at samples that lie a period apart."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        pairs = itertools.pairwise(PERIOD_WIDTHS)
        self.layers = nn.ModuleList(
            prepared(nn.Conv2d(n_in, n_out, (5, 1), (3, 1), (2, 0)))
            for n_in, n_out in pairs
        )
        self.last = prepared(nn.Conv2d(PERIOD_WIDTHS[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, sound: Tensor) -> tuple[Tensor, list[Tensor]]:
        usable = sound.shape[-1] // self.period * self.period
        x = GAIN * sound[..., :usable]
        x = x.unflatten(-1, (-1, self.period))  # [B, 1, T / p, p]
        return scored(x, self.layers, self.last)


class Discriminator(nn.Module):
    def __init__(self, width: int, power: float) -> None:
        super().__init__()
        parts: list[nn.Module] = [StftDiscriminator(w, width, power) for w in STFTS]
        parts += [PeriodDiscriminator(period) for period in PERIODS]
        self.parts = nn.ModuleList(parts)

    def judge(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge loss of the discriminator itself, mean of its parts."""
        total = real.new_zeros(())
        for part in self.parts:
            score, _ = part(torch.cat([real, fake]))
            a, b = score.float().chunk(2)
            total = total + F.relu(1 - a).mean() + F.relu(1 + b).mean()
        return total / len(self.parts)

    def persuade(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """What the codec is to lower, means of the parts: (adversarial, distance of
        features relative to their size)."""
        adversarial, distance = real.new_zeros(()), real.new_zeros(())
        for part in self.parts:
            score, features = part(torch.cat([real, fake]))
            _, b = score.float().chunk(2)
            adversarial = adversarial - b.mean()
            for feature in features:
                wanted, heard = feature.float().chunk(2)
                scale = wanted.detach().abs().mean().clamp(min=1e-3)
                apart = (wanted.detach() - heard).abs().mean() / scale
                distance = distance + apart / len(features)
        count = len(self.parts)
        return adversarial / count, distance / count
