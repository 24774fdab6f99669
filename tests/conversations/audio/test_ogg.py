"""Ogg files made of packets, read by two independent decoders."""

import io

import av
import numpy as np
import pytest
import soundfile

from conversations.audio import ogg, opus
from tests.conversations.browser import tone


def encoded(sound, bitrate=32_000):
    encoder = opus.Encoder(bitrate)
    return [encoder.encode(frame) for frame in sound]


def decoded(data):
    """float32 [channels, samples] at 48 kHz."""
    with av.open(io.BytesIO(data)) as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(parts, axis=1)


def peak_hertz(samples):
    """Of one second from the middle."""
    middle = samples[48_000:96_000]
    return int(np.abs(np.fft.rfft(middle)).argmax())


def test_a_recording_has_its_duration_and_its_pitch():
    data = ogg.mux(encoded(tone(50, 440)), serial=1)
    sound, rate = soundfile.read(io.BytesIO(data))
    assert rate == 48_000
    assert len(sound) == 50 * 3840 - ogg.PRE_SKIP
    assert peak_hertz(sound) == 440
    with av.open(io.BytesIO(data)) as container:
        assert container.duration == pytest.approx(4_000_000, abs=10_000)


def test_an_empty_recording_is_a_file_too():
    data = ogg.mux([], serial=1)
    assert data.startswith(b"OggS")
    assert data.count(b"OggS") == 2


def test_both_sides_are_left_and_right_of_one_file():
    left, right = encoded(tone(50, 440)), encoded(tone(50, 1000))
    sound = decoded(ogg.mux_pair(left, right, serial=2))
    assert sound.shape == (2, 50 * 3840 - ogg.PRE_SKIP)
    assert peak_hertz(sound[0]) == 440
    assert peak_hertz(sound[1]) == 1000
    alone = decoded(ogg.mux(left, serial=2))
    assert np.abs(sound[0] - alone[0]).max() < 1e-4


@pytest.mark.parametrize("bitrate", [6_000, 12_000, 24_000, 64_000, 128_000, 300_000])
def test_every_kind_of_packet_can_stand_on_the_left(bitrate):
    """Low rates are SILK in two frames, high ones CELT in four, of any length."""
    rng = np.random.default_rng(0)
    noise = (rng.normal(size=(40, 1920)) * 5_000).astype(np.int16)
    packets = encoded(noise, bitrate)
    packets[20] = opus.silence()
    alone, _ = soundfile.read(io.BytesIO(ogg.mux(packets, serial=3)))
    pair = ogg.mux_pair(packets, encoded(tone(40)), serial=3)
    paired, _ = soundfile.read(io.BytesIO(pair))
    assert np.abs(alone - paired[:, 0]).max() < 1e-4


@pytest.mark.parametrize(
    ("packet", "delimited"),
    [
        (b"\x08abc", b"\x08\x03abc"),  # one frame
        (b"\x09abcd", b"\x09\x02abcd"),  # two of one length
        (b"\x0a\x01abbb", b"\x0a\x01\x03abbb"),  # two of their own lengths
        (b"\x0b\x02aabb", b"\x0b\x02\x02aabb"),  # many of one length
        (b"\x0b\x82\x01abb", b"\x0b\x82\x01\x02abb"),  # many of their own lengths
        (b"\x0b\x42\x02aabb\0\0", b"\x0b\x42\x02\x02aabb\0\0"),  # and padded
        (b"\x08" + bytes(300), b"\x08\xfc\x0c" + bytes(300)),  # 252 + 4 · 12
    ],
)
def test_a_packet_is_delimited_as_rfc_6716_says(packet, delimited):
    assert ogg.self_delimited(packet) == delimited


def test_large_packets_share_no_page_that_is_too_small():
    packets = [bytes([0x0B, 4]) + bytes(3_996)] * 30
    data = ogg.mux(packets, serial=4)
    assert data.count(b"OggS") > 3


def test_the_checksum_is_oggs():
    page = bytearray(ogg.mux([], serial=7)[:47])
    stored = int.from_bytes(page[22:26], "little")
    page[22:26] = bytes(4)
    crc = 0
    for byte in page:  # as written in RFC 3533
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        crc &= 0xFFFFFFFF
    assert crc == stored
