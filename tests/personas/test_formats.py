"""What phones, Macs and old recorders make: decoded, or called by its name."""

import io
import struct

import numpy as np
import pytest

from personas.decoding import decode
from personas.errors import NotAudio
from personas.formats import NAMED, container_format
from tests import sounds


def decoded(data):
    return decode(io.BytesIO(data), 60).sound


def is_a_tone(sound):
    spectrum = np.abs(np.fft.rfft(sound[12_000:36_000]))
    return abs(int(np.argmax(spectrum)) - 220) <= 2


@pytest.mark.parametrize("name", sounds.ALL_FORMATS)
def test_it_decodes(name):
    sound = decoded(sounds.encode(sounds.tone(3), name))
    assert len(sound) / 24_000 == pytest.approx(3, abs=0.15)
    assert np.sqrt(np.mean(sound**2)) == pytest.approx(0.1 / np.sqrt(2), rel=0.15)
    assert is_a_tone(sound)


def gsm():
    """GSM 6.10 as answering machines write it: 65 bytes hold 320 samples."""
    data = np.random.default_rng(1).bytes(65 * 100)
    fields = struct.pack("<HHIIHH", 49, 1, 8_000, 1625, 65, 0)
    fields += struct.pack("<HH", 2, 320)
    chunks = b"fmt " + struct.pack("<I", len(fields)) + fields
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def amr(head, kind, size):
    """Frames of 20 ms of noise."""
    noise = np.random.default_rng(2)
    return head + b"".join(bytes([kind]) + noise.bytes(size) for _ in range(200))


@pytest.mark.parametrize(
    "data",
    [
        gsm(),
        amr(b"#!AMR\n", 7 << 3 | 4, 31),
        amr(b"#!AMR-WB\n", 2 << 3 | 4, 32),
    ],
    ids=["GSM", "AMR", "AMR-WB"],
)
def test_it_decodes_what_telephones_make(data):
    assert len(decoded(data)) / 24_000 == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("start", NAMED)
def test_what_is_not_taken_is_called_by_its_name(start):
    with pytest.raises(NotAudio) as caught:
        container_format(io.BytesIO(start + bytes(100)))
    assert f"This is {NAMED[start]}" in caught.value.text
    assert "Save the recording as WAV, FLAC, MP3" in caught.value.text


def test_a_codec_that_is_not_taken_is_named():
    unusual = sounds.encode(sounds.tone(3), "wav").replace(
        b"\x01\x00\x01\x00", b"\x22\x00\x01\x00", 1
    )
    with pytest.raises(NotAudio) as caught:
        decoded(unusual)
    assert "DSP Group TrueSpeech" in caught.value.text


def test_an_unknown_codec_is_reported_as_unknown():
    unknown = sounds.encode(sounds.tone(3), "wav").replace(
        b"\x01\x00\x01\x00", b"\x99\x99\x01\x00", 1
    )
    with pytest.raises(NotAudio) as caught:
        decoded(unknown)
    assert "a codec that is not known here" in caught.value.text


def test_a_tag_in_front_of_raw_aac_changes_nothing():
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 0, 10]) + bytes(10)
    data = tag + sounds.encode(sounds.tone(3), "raw AAC")
    assert container_format(io.BytesIO(data)) == "aac"
    assert is_a_tone(decoded(data))
