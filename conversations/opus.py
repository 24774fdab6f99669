"""Opus at one frame a packet: the only importer of opuslib.

Owns finding libopus and the codec settings. Knows no sockets and no database.

What libopus would choose for speech (SILK, and FEC beside it) costs 1.1 ms for 80 ms of
real speech, most of a core at 64 conversations; its low-delay mode (CELT) costs 0.2 ms,
and decoding 0.1 ms, which is why both may run on the event loop. Measured, two
recordings, read and synthetic (PESQ-WB; delay of the codec; bytes a packet):

=====================  ============  ======  =====  =======
SILK with FEC, 32,000  4.34 / 3.66   6.5 ms  318 B  1.14 ms
SILK, 32,000           4.46 / 3.93   6.5 ms  318 B  0.80 ms
CELT, 32,000           4.30 / 3.01   2.5 ms  325 B  0.20 ms
CELT, 48,000 (ours)    4.42 / 3.82   2.5 ms  485 B  0.20 ms
CELT, 64,000           4.52 / 4.17   2.5 ms  645 B  0.21 ms
=====================  ============  ======  =====  =======

FEC would be for packets that are lost, and a WebSocket loses none.
"""

from __future__ import annotations

import ctypes.util
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from django.core.exceptions import ImproperlyConfigured
from numpy.typing import NDArray

from inference.timing import FRAME_SAMPLES, SAMPLE_RATE

MAX_PACKET = 4_000  # bytes; 80 ms at 400 kbit/s, far above any bitrate that we use
BROWSERS_LOSS_PERCENT = 5  # what our page tells its encoder to expect


class OpusPacketError(ValueError):
    """Bytes that are no Opus packet of exactly one frame."""


def _library_in_av() -> str | None:
    """The libopus that the av wheel carries, for machines without their own."""
    spec = importlib.util.find_spec("av")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.parent / "av.libs"
    found = sorted(folder.glob("libopus-*.so*"))
    return str(found[0]) if found else None


@functools.cache
def _opuslib() -> ModuleType:
    """opuslib, told where libopus is: it looks for it once, when first imported."""
    util: Any = ctypes.util
    system: Callable[[str], str | None] = util.find_library
    path = system("opus") or _library_in_av()
    if path is None:
        raise ImproperlyConfigured(
            "No Opus library found. Install libopus0 (apt-get install libopus0) or "
            "the av package from requirements.txt."
        )
    util.find_library = lambda name: path if name == "opus" else system(name)
    try:
        import opuslib
        import opuslib.api.ctl
        import opuslib.api.encoder
    finally:
        util.find_library = system
    return opuslib


class Decoder:
    """Packets of one side, in order, to PCM."""

    def __init__(self) -> None:
        self._error = _opuslib().OpusError
        self._decoder = _opuslib().Decoder(SAMPLE_RATE, 1)

    def decode(self, packet: bytes) -> NDArray[np.int16]:
        """int16 [1920]; OpusPacketError unless the packet lasts exactly one frame."""
        if not packet or len(packet) > MAX_PACKET:
            raise OpusPacketError(f"a packet of {len(packet)} bytes")
        try:
            pcm = self._decoder.decode(packet, FRAME_SAMPLES)
        except self._error as error:
            raise OpusPacketError(str(error)) from error
        if len(pcm) != 2 * FRAME_SAMPLES:
            raise OpusPacketError(f"a packet of {len(pcm) // 2} samples")
        return np.frombuffer(pcm, np.int16)


class Encoder:
    """PCM of one side, in order, to packets. ``as_browser``: as our page encodes, with
    SILK and in-band FEC, for whoever plays a browser."""

    def __init__(self, bitrate: int, *, as_browser: bool = False) -> None:
        opuslib = _opuslib()
        mode = (
            opuslib.APPLICATION_VOIP
            if as_browser
            else opuslib.APPLICATION_RESTRICTED_LOWDELAY
        )
        self._encoder = opuslib.Encoder(SAMPLE_RATE, 1, mode)
        self._encoder.bitrate = bitrate
        if as_browser:
            # The attributes of the same names raise in opuslib 3.0.1.
            ctl, state = opuslib.api.ctl, self._encoder.encoder_state
            set_option = opuslib.api.encoder.encoder_ctl
            set_option(state, ctl.set_inband_fec, 1)
            set_option(state, ctl.set_packet_loss_perc, BROWSERS_LOSS_PERCENT)

    def encode(self, pcm: NDArray[np.int16]) -> bytes:
        if pcm.shape != (FRAME_SAMPLES,):
            raise ValueError(f"one frame is {FRAME_SAMPLES} samples, not {pcm.shape}")
        data: bytes = self._encoder.encode(
            pcm.astype("<i2", copy=False).tobytes(), FRAME_SAMPLES
        )
        return data


@functools.cache
def silence() -> bytes:
    """One frame of silence, for the places where a recording has no packet."""
    encoder = Encoder(6_000)
    quiet = np.zeros(FRAME_SAMPLES, np.int16)
    encoder.encode(quiet)  # the first packet still carries the codec's start
    return encoder.encode(quiet)
