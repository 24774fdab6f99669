"""Opus at one frame a packet: the only importer of opuslib.

Finds libopus and sets the codec up. It must not depend on sockets or the database.

What libopus would choose for speech (SILK, and FEC beside it) takes most of a core at
64 conversations. Its low-delay mode (CELT) at a low complexity costs a sixteenth,
and a few more bits make up for the complexity; so both codecs may run on the event
loop. Two recordings, read and synthetic (PESQ-WB; delay of the codec; bytes a packet;
time for the 80 ms, in that of the first row):

=====================  =============  ===========  ======  =====  ====
mode, bit/s            complexity     PESQ         delay   bytes  time
=====================  =============  ===========  ======  =====  ====
SILK with FEC, 32,000  9              4.34 / 3.66  6.5 ms  318    1
SILK, 32,000           9              4.46 / 3.93  6.5 ms  318    0.70
CELT, 48,000           9              4.45 / 3.75  2.5 ms  485    0.17
CELT, 48,000           3              4.42 / 3.38  2.5 ms  485    0.08
CELT, 64,000           9              4.52 / 4.05  2.5 ms  645    0.17
CELT, 64,000           3              4.51 / 3.90  2.5 ms  645    0.08
CELT, 64,000 (ours)    0              4.51 / 3.83  2.5 ms  645    0.06
=====================  =============  ===========  ======  =====  ====

FEC would be for packets that are lost, and a WebSocket loses none.

opuslib's own ``encode`` and ``decode`` carry every sample through a Python list, which
takes as long as decoding; here its bindings are called with buffers instead.
"""

from __future__ import annotations

import ctypes
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
    """opuslib, which finds libopus by ``find_library`` once, as it is imported."""
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
        opuslib = _opuslib()
        self._decoder = opuslib.Decoder(SAMPLE_RATE, 1)
        self._call = opuslib.api.decoder.libopus_decode
        self._pcm = (ctypes.c_int16 * FRAME_SAMPLES)()
        self._sound = np.ctypeslib.as_array(self._pcm)

    def decode(self, packet: bytes) -> NDArray[np.int16]:
        """int16 [1920]; OpusPacketError unless the packet lasts exactly one frame."""
        if not packet or len(packet) > MAX_PACKET:
            raise OpusPacketError(f"a packet of {len(packet)} bytes")
        state = self._decoder.decoder_state
        done = self._call(state, packet, len(packet), self._pcm, FRAME_SAMPLES, 0)
        if done < 0:
            raise OpusPacketError(str(_opuslib().OpusError(done)))
        if done != FRAME_SAMPLES:
            raise OpusPacketError(f"a packet of {done} samples")
        return self._sound.copy()

    def decode_or_silence(self, packet: bytes) -> NDArray[np.int16]:
        """For packets that could be decoded when they came: silence where the log that
        they were read from is damaged."""
        try:
            return self.decode(packet)
        except OpusPacketError:
            return np.zeros(FRAME_SAMPLES, np.int16)


class Encoder:
    """PCM of one side, in order, to packets. ``as_browser``: as our page encodes, with
    SILK and in-band FEC, for tests that act as a browser."""

    def __init__(
        self, bitrate: int, *, complexity: int = 9, as_browser: bool = False
    ) -> None:
        opuslib = _opuslib()
        set_option, ctl = opuslib.api.encoder.encoder_ctl, opuslib.api.ctl
        mode = (
            opuslib.APPLICATION_VOIP
            if as_browser
            else opuslib.APPLICATION_RESTRICTED_LOWDELAY
        )
        self._encoder = opuslib.Encoder(SAMPLE_RATE, 1, mode)
        self._call = opuslib.api.encoder.libopus_encode
        self._pcm = (ctypes.c_int16 * FRAME_SAMPLES)()
        self._sound = np.ctypeslib.as_array(self._pcm)
        self._packet = (ctypes.c_char * MAX_PACKET)()
        self._encoder.bitrate = bitrate
        # Some attributes of these names raise in opuslib 3.0.1.
        state = self._encoder.encoder_state
        set_option(state, ctl.set_complexity, complexity)
        if as_browser:
            set_option(state, ctl.set_inband_fec, 1)
            set_option(state, ctl.set_packet_loss_perc, BROWSERS_LOSS_PERCENT)

    def encode(self, pcm: NDArray[np.int16]) -> bytes:
        if pcm.shape != (FRAME_SAMPLES,):
            raise ValueError(f"one frame is {FRAME_SAMPLES} samples, not {pcm.shape}")
        self._sound[:] = pcm
        state = self._encoder.encoder_state
        length = self._call(state, self._pcm, FRAME_SAMPLES, self._packet, MAX_PACKET)
        if length < 0:
            raise RuntimeError(str(_opuslib().OpusError(length)))
        return ctypes.string_at(self._packet, length)


@functools.cache
def silence() -> bytes:
    """One frame of silence, for the places where a recording has no packet."""
    encoder = Encoder(6_000)
    quiet = np.zeros(FRAME_SAMPLES, np.int16)
    encoder.encode(quiet)  # the first packet still carries the codec's start
    return encoder.encode(quiet)
