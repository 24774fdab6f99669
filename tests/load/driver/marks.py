"""Sound that says whose frame it is, and survives being coded by Opus twice.

A frame is two tones, one of 16 low and one of 16 high ones: 256 symbols. The order of
the symbols differs from conversation to conversation, so that another's sound and one's
own at another time are both noticed. Of 2,112 frames of 64 conversations none was
misread; twice as loud, and with what was Opus' choice for speech, 6 of 4,352 were.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from conversations.audio.opus import Decoder, Encoder
from inference.timing import FRAME_SAMPLES, SAMPLE_RATE

LOOP = 25  # frames, 2 s: then a conversation says the same again
WARM = 2  # packets that a fresh decoder needs before it is where the encoder was
_TONES = 16
_LOW = 400 + 75 * np.arange(_TONES)  # Hz
_HIGH = 1900 + 75 * np.arange(_TONES)
_AMPLITUDE = 3_000
_FADE = 120  # samples
# Coding twice delays by 13 ms; of the 80 ms, the 50 that are surely the frame's own.
_FROM, _TO = 700, 1_900


def symbol(mark: int, turn: int) -> int:
    """What conversation ``mark`` says in its frame ``turn``; 0 … 255."""
    return _symbols(mark)[turn % LOOP]


@functools.cache
def _symbols(mark: int) -> list[int]:
    """LOOP different ones."""
    order = np.random.default_rng(mark).permutation(_TONES * _TONES)
    return [int(each) for each in order[:LOOP]]


def sound(mark: int, turn: int) -> NDArray[np.int16]:
    """int16 [1920]."""
    low, high = divmod(symbol(mark, turn), _TONES)
    at = 2 * np.pi * np.arange(FRAME_SAMPLES) / SAMPLE_RATE
    edge = np.arange(FRAME_SAMPLES) / _FADE
    fade = np.minimum(1, np.minimum(edge, edge[::-1]))
    wave = np.sin(_LOW[low] * at) + np.sin(_HIGH[high] * at)
    return (_AMPLITUDE * fade * wave).astype(np.int16)


def packets(mark: int, bitrate: int) -> list[bytes]:
    """The LOOP Opus packets that conversation ``mark`` says over and over."""
    encoder = Encoder(bitrate, as_browser=True)
    rounds = [encoder.encode(sound(mark, turn)) for turn in range(2 * LOOP)]
    return rounds[LOOP:]  # as they are with a round before them


class Reader:
    """Reads symbols out of packets, a few of a stream at a time."""

    def __init__(self) -> None:
        at = 2j * np.pi * np.arange(_FROM, _TO) / SAMPLE_RATE
        waves = np.exp(-np.concatenate([_LOW, _HIGH])[:, None] * at)
        self._waves = (waves * np.hanning(_TO - _FROM)).astype(np.complex64)

    def read(self, decoder: Decoder, run: list[bytes]) -> int:
        """The symbol of the last of WARM + 1 consecutive packets. ``decoder``: of this
        stream's side, in whatever state an earlier read left it."""
        for packet in run:
            pcm = decoder.decode(packet)
        heard = self._waves @ pcm[_FROM:_TO].astype(np.float32)
        low, high = np.abs(heard).reshape(2, _TONES).argmax(axis=1)
        return int(low * _TONES + high)
