"""Opus at one frame a packet, and what is no such packet."""

import subprocess
import sys

import numpy as np
import pytest
from opuslib import Decoder as AnyDecoder
from opuslib import Encoder as AnyEncoder

from conversations.audio import opus
from tests.conversations.browser import tone
from tests.e2e import sounds


def test_sound_survives():
    encoder, decoder = opus.Encoder(32_000), opus.Decoder()
    sound = tone(10)
    back = np.stack([decoder.decode(encoder.encode(frame)) for frame in sound])
    assert back.shape == sound.shape
    assert 0.5 < np.abs(back[5]).max() / np.abs(sound[5]).max() < 1.5


def test_it_is_what_opuslib_gives_by_its_own_way():
    """Ours calls the same functions with buffers."""
    ours, theirs = opus.Encoder(64_000), AnyEncoder(24_000, 1, "restricted_lowdelay")
    theirs.bitrate = 64_000
    decoder, plain = opus.Decoder(), AnyDecoder(24_000, 1)
    for frame in tone(25):
        packet = ours.encode(frame)
        assert packet == theirs.encode(frame.tobytes(), 1920)
        assert decoder.decode(packet).tobytes() == plain.decode(packet, 1920)


def test_what_was_decoded_stays():
    """A frame is still needed when the next one has come."""
    decoder, packets = opus.Decoder(), sounds.packets(0.4)
    frames = [decoder.decode(packet) for packet in packets]
    again = opus.Decoder()
    for frame, packet in zip(frames, packets, strict=True):
        np.testing.assert_array_equal(frame, again.decode(packet).copy())


def test_silence_is_silent_and_small():
    assert len(opus.silence()) < 40
    assert np.abs(opus.Decoder().decode(opus.silence())).max() < 10


@pytest.mark.parametrize("milliseconds", [20, 40, 60, 120])
def test_it_refuses_a_packet_of_another_length(milliseconds):
    samples = 24 * milliseconds
    packet = AnyEncoder(24_000, 1, "voip").encode(bytes(2 * samples), samples)
    with pytest.raises(opus.OpusPacketError):
        opus.Decoder().decode(packet)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x03", bytes(5_000)])
def test_it_refuses_what_is_no_packet(data):
    with pytest.raises(opus.OpusPacketError):
        opus.Decoder().decode(data)


def test_noise_never_does_more_than_be_refused():
    rng = np.random.default_rng(0)
    decoder = opus.Decoder()
    for size in rng.integers(1, 500, 300):
        try:
            assert decoder.decode(rng.bytes(size)).shape == (1920,)
        except opus.OpusPacketError:
            continue


def test_it_refuses_half_a_frame_to_encode():
    with pytest.raises(ValueError, match="1920"):
        opus.Encoder(32_000).encode(np.zeros(960, np.int16))


@pytest.mark.parametrize("own_copy", [True, False])
def test_it_finds_the_copy_in_av_or_says_what_to_install(own_copy):
    """In a fresh process: opuslib looks for the library once, when it is imported."""
    code = (
        "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
        "from conversations.audio import opus\n"
        f"{'' if own_copy else 'opus._library_in_av = lambda: None'}\n"
        "print(len(opus.silence()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if own_copy:
        assert done.returncode == 0, done.stderr
    else:
        assert "apt-get install libopus0" in done.stderr


def test_a_browsers_packets_are_understood():
    """Speech as our page sends it is SILK with FEC; what we send is not."""
    speech = sounds.decoded(sounds.RECORDING)[0][: 25 * 1920].reshape(25, 1920)
    speech = (speech * 32767).astype(np.int16)
    encoder, decoder = opus.Encoder(32_000, as_browser=True), opus.Decoder()
    packets = [encoder.encode(frame) for frame in speech]
    back = np.stack([decoder.decode(packet) for packet in packets])
    assert 0.8 < np.std(back) / np.std(speech) < 1.2

    def is_celt(packet):  # by its configuration number, RFC 6716 3.1
        return packet[0] >> 3 >= 16

    assert not any(map(is_celt, packets[5:]))
    ours = opus.Encoder(32_000)
    assert all(is_celt(ours.encode(frame)) for frame in speech)
