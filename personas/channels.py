"""From the channels of a recording to the one that a voice is made of.

Notices channels that cancel each other out, and a different speaker on each. Arrays in,
arrays out; imports no Django.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE
from personas.levels import LEVEL_SAMPLES, levels_db

AUTO, MIXED, LEFT, RIGHT = "", "mixed", "left", "right"
# Of the power that unrelated channels keep when they are mixed. Two channels lose so
# much where their correlation is below -0.5: speech is then hollow, or gone.
CANCELLED = 0.5
# One channel alone speaks where it is louder than all others by so much: a second
# microphone in the same room hears a speaker with 3 to 10 dB less.
ALONE_DB = 10.0
ALONE_SHARE = 0.6  # of the time in which there is speech
ALONE_SECONDS = 1.0  # in at least two channels
PAUSE_DB = 24.0  # below the loud parts
SILENT_DB = -60.0

INVERTED = (
    "The channels of this recording have opposite polarity and cancel each other out "
    "when they are mixed, so the {taken} channel alone was used. "
)
SEPARATE = (
    "Each channel of this recording holds another speaker, so the {taken} channel "
    "alone was used: it has the most speech ({seconds}). For another speaker choose "
    "the channel and send the file again. "
)

Channels = NDArray[np.float32]  # [c, n], 24 kHz
Sound = NDArray[np.float32]  # [n], 24 kHz mono


@dataclass(frozen=True)
class OneChannel:
    sound: Sound
    note: str  # for the person who sent it; "" where there is nothing to say


def one_channel(channels: Channels, wanted: str = AUTO) -> OneChannel:
    """``wanted``: the mean of all, the first or the second channel. By default the
    mean, unless that would spoil the voice; the note then says so."""
    if len(channels) == 1:
        return OneChannel(channels[0], "")
    if wanted in (LEFT, RIGHT):
        return OneChannel(channels[0 if wanted == LEFT else 1], "")
    if wanted == AUTO:
        alone = _seconds_alone(levels_db(channels))
        if alone is not None:
            best = int(np.argmax(alone))
            shares = ", ".join(f"{name}: {s:.0f} s" for name, s in _named(alone))
            note = SEPARATE.format(taken=_name(best, len(channels)), seconds=shares)
            return OneChannel(channels[best], note.strip())
    power = np.square(channels, dtype=np.float64).mean(axis=1)
    mixed = channels.mean(axis=0)
    kept = float(np.square(mixed, dtype=np.float64).mean())
    if kept >= CANCELLED * power.sum() / len(channels) ** 2:
        return OneChannel(mixed, "")
    best = int(np.argmax(power))
    note = INVERTED.format(taken=_name(best, len(channels)))
    return OneChannel(channels[best], note.strip())


def _seconds_alone(levels: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """How long each channel speaks alone [c]; None unless that is how they speak."""
    loud = np.percentile(levels, 95, axis=1, keepdims=True)
    active = (levels > loud - PAUSE_DB) & (levels > SILENT_DB)
    ordered = np.sort(levels, axis=0)
    alone = ordered[-1] - ordered[-2] > ALONE_DB
    first = levels.argmax(axis=0)
    counts = np.array(
        [(active[c] & alone & (first == c)).sum() for c in range(len(levels))]
    )
    seconds = counts * LEVEL_SAMPLES / SAMPLE_RATE
    share = counts.sum() / max(1, int(active.any(axis=0).sum()))
    several = (seconds >= ALONE_SECONDS).sum() > 1
    return seconds if several and share >= ALONE_SHARE else None


def _named(seconds: NDArray[np.float64]) -> list[tuple[str, float]]:
    """The channels with the most speech, at most four."""
    order = sorted(range(len(seconds)), key=lambda c: -seconds[c])[:4]
    return [(_name(c, len(seconds)), float(seconds[c])) for c in order]


def _name(channel: int, channels: int) -> str:
    if channels == 2:
        return ("left", "right")[channel]
    return ("first", "second")[channel] if channel < 2 else f"{channel + 1}th"
