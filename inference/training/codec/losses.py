"""What a codec is measured by: mel spectra of many sizes, and the phonemes that its
first codebook tells.

From sound [B, 1, T] and labels; must not depend on the codec.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.timing import SAMPLE_RATE
from inference.training.codec.data import SYMBOLS, UNKNOWN

# Window in samples and number of mel bands.
MELS = ((2048, 160), (1024, 80), (512, 48), (256, 24), (128, 12), (64, 6))
LINE_WINDOW = 4800  # samples: lines are 5 Hz wide
FLOOR = 1e-3  # about -85 dBFS of noise: what is quieter is silence


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


class LineLoss(nn.Module):
    """How much louder the multiples of a frequency are than they should be: lines that
    a decoder's upsampling leaves in all it says, too thin for any mel band."""

    def __init__(self, hertz: int) -> None:
        super().__init__()
        self.every = hertz * LINE_WINDOW // SAMPLE_RATE
        self.register_buffer("hann", torch.hann_window(LINE_WINDOW))

    def forward(self, heard: Tensor, wanted: Tensor) -> Tensor:
        """Of sounds [B, 1, T]: mean excess of the log magnitudes over all lines."""
        both = torch.cat([heard, wanted]).squeeze(1).float()
        spectrum = torch.stft(
            both,
            LINE_WINDOW,
            LINE_WINDOW // 4,
            window=self.get_buffer("hann"),
            return_complex=True,
        )
        lines = spectrum[:, self.every : -1 : self.every].abs()
        a, b = lines.clamp(min=FLOOR).log10().chunk(2)
        return F.relu(a - b).mean()


class PhonemeHead(nn.Module):
    """Says from the first codebook which phonemes a frame holds: makes it semantic.
    Trained beside the codec, not part of it."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inner, 256), nn.GELU(), nn.Linear(256, SYMBOLS)
        )

    def forward(self, semantic: Tensor, labels: Tensor) -> Tensor:
        logits = self.layers(semantic.transpose(1, 2)).float().log_softmax(-1)
        known = labels != UNKNOWN
        chosen = logits.gather(2, torch.where(known, labels, 0).long())
        return -(chosen * known).sum() / known.sum().clamp(min=1)
