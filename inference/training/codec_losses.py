"""What a reconstruction is judged by: mel spectra of many sizes, and a discriminator.

Knows sound [B, 1, T] only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from inference.timing import SAMPLE_RATE

# Window in samples and number of mel bands.
MELS = ((2048, 160), (1024, 80), (512, 48), (256, 24), (128, 12), (64, 6))
STFTS = (2048, 1024, 512)
FLOOR = 1e-5
LAYERS = 5  # of each part of the discriminator


def mel_filters(window: int, bands: int) -> Tensor:
    """Triangles [window / 2 + 1, bands], evenly spaced on the mel scale."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = torch.linspace(0, mel(SAMPLE_RATE / 2), bands + 2)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, window // 2 + 1)[:, None]
    left, centre, right = hertz[:-2], hertz[1:-1], hertz[2:]
    up, down = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.minimum(up, down).clamp(min=0)


class MelLoss(nn.Module):
    """Mean distance of log mel spectra, summed over the sizes."""

    def __init__(self) -> None:
        super().__init__()
        for window, bands in MELS:
            self.register_buffer(f"filters{window}", mel_filters(window, bands))
            self.register_buffer(f"window{window}", torch.hann_window(window))

    def forward(self, heard: Tensor, wanted: Tensor) -> Tensor:
        both = torch.cat([heard, wanted]).squeeze(1).float()
        total = both.new_zeros(())
        for window, _ in MELS:
            spectrum = torch.stft(
                both,
                window,
                window // 4,
                window=self.get_buffer(f"window{window}"),
                return_complex=True,
            ).abs()
            mel = spectrum.transpose(1, 2) @ self.get_buffer(f"filters{window}")
            a, b = mel.clamp(min=FLOOR).log10().chunk(2)
            total = total + F.l1_loss(a, b)
        return total


class StftDiscriminator(nn.Module):
    """Looks at one spectrogram's real and imaginary parts (as in EnCodec)."""

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("hann", torch.hann_window(window))

        def conv(
            n_in: int, kernel: tuple[int, int], stride: int, dilation: int
        ) -> nn.Conv2d:
            padding = (dilation * (kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
            layer = nn.Conv2d(
                n_in, width, kernel, (1, stride), padding, dilation=(dilation, 1)
            )
            return weight_norm(layer)

        self.layers = nn.ModuleList(
            [
                conv(2, (3, 9), 1, 1),
                conv(width, (3, 9), 2, 1),
                conv(width, (3, 9), 2, 2),
                conv(width, (3, 9), 2, 4),
                conv(width, (3, 3), 1, 1),
            ]
        )
        self.last = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, sound: Tensor) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast(sound.device.type, enabled=False):
            spectrum = torch.stft(
                sound.squeeze(1).float(),
                self.window,
                self.window // 4,
                window=self.get_buffer("hann"),
                normalized=True,
                return_complex=True,
            )
            x = torch.view_as_real(spectrum).permute(0, 3, 2, 1)  # [B, 2, T, bins]
        x = x.contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.last(x), features


class Discriminator(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(StftDiscriminator(w, width) for w in STFTS)

    def judge(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge loss of the discriminator itself."""
        total = real.new_zeros(())
        for part in self.parts:
            score, _ = part(torch.cat([real, fake]))
            a, b = score.float().chunk(2)
            total = total + F.relu(1 - a).mean() + F.relu(1 + b).mean()
        return total / len(self.parts)

    def persuade(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """What the codec is to lower: (adversarial, feature distance)."""
        adversarial, distance = real.new_zeros(()), real.new_zeros(())
        for part in self.parts:
            score, features = part(torch.cat([real, fake]))
            _, b = score.float().chunk(2)
            adversarial = adversarial - b.mean()
            for feature in features:
                wanted, heard = feature.float().chunk(2)
                scale = wanted.detach().abs().mean().clamp(min=1e-3)
                distance = distance + (wanted.detach() - heard).abs().mean() / scale
        count = len(self.parts)
        return adversarial / count, distance / count / LAYERS
