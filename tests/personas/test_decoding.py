import io
import struct
import wave

import numpy as np
import pytest

from personas.decoding import LENGTH_TOLERANCE, decode
from personas.errors import (
    Damaged,
    NoSoundTrack,
    NotAudio,
    TooLittleSpeech,
    TooLong,
    TooShort,
)
from personas.formats import container_format
from personas.preparation import prepare
from tests import sounds


def decoded(data, limit=60):
    return decode(io.BytesIO(data), limit).sound


@pytest.mark.parametrize("kind", sounds.FORMATS)
def test_every_format_becomes_24_khz_mono(kind):
    sound = decoded(sounds.encode(sounds.tone(4), kind))
    assert sound.dtype == np.float32
    assert len(sound) / 24_000 == pytest.approx(4, abs=0.08)
    assert np.sqrt(np.mean(sound**2)) == pytest.approx(0.1 / np.sqrt(2), rel=0.1)
    spectrum = np.abs(np.fft.rfft(sound[:24_000]))
    assert np.argmax(spectrum) == pytest.approx(220, abs=2)


def test_stereo_is_mixed_to_one_channel():
    mono = decoded(sounds.encode(sounds.tone(3), "wav"))
    stereo = decoded(sounds.encode(sounds.tone(3), "wav", layout="stereo"))
    assert np.abs(mono - stereo).max() < 2e-4


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_every_width_of_wav_has_the_same_level(bits):
    pcm = sounds.tone(3, level=0.5)
    steps = np.round(pcm * (2 ** (bits - 1) - 1)).astype(np.int64)
    if bits == 8:
        data = (steps + 128).astype(np.uint8).tobytes()
    else:
        data = (
            steps.astype("<i8").view(np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()
        )
    assert np.abs(decoded(wav(data, bits=bits))).max() == pytest.approx(0.5, abs=0.02)


def wav(data, rate=24_000, bits=16, channels=1, claimed=None):
    block = channels * bits // 8
    size = claimed or len(data)
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, channels),
        *(rate, rate * block % 2**32, block, bits, b"data", size),
    )
    return head + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"Dear Sir or Madam, " * 100,
        b"%PDF-1.7 " + bytes(1000),
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"PK\x03\x04" + bytes(1000),
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"RIFF\x10\x00\x00\x00AVI LIST" + bytes(100),
        bytes(5000),
    ],
)
def test_it_refuses_what_is_no_sound(data):
    with pytest.raises(NotAudio) as caught:
        decoded(data)
    assert "WAV, FLAC, MP3" in caught.value.text


@pytest.mark.parametrize("samples", [0, 1, 240])
def test_a_header_with_nothing_behind_it_is_damaged(samples):
    """It was said to be 0.0 s long."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * samples))
    with pytest.raises(Damaged) as caught:
        prepare(decoded(made.getvalue()), 3, 12)
    assert "damaged or empty" in caught.value.text


@pytest.mark.parametrize(
    "head",
    [
        b"RIFF\xff\xff\xff\xffWAVE",
        b"fLaC",
        b"OggS",
        b"\0\0\0\x18ftypM4A ",
        b"\x1a\x45\xdf\xa3",
    ],
)
def test_it_refuses_noise_behind_a_good_beginning(head):
    noise = np.random.default_rng(1).bytes(50_000)
    with pytest.raises((NotAudio, NoSoundTrack)):
        decoded(head + noise)


@pytest.mark.parametrize("kind", sounds.FORMATS)
def test_a_damaged_file_gives_sound_or_our_error(kind):
    data = bytearray(sounds.encode(sounds.tone(4), kind))
    random = np.random.default_rng(7)
    for _ in range(40):
        damaged = bytearray(data)
        for at in random.integers(0, len(data), 60):
            damaged[at] = random.integers(256)
        try:
            sound = decoded(bytes(damaged[: random.integers(1, len(data))]))
        except (NotAudio, NoSoundTrack, TooLong):
            continue
        assert np.isfinite(sound).all()


def test_a_broken_off_file_is_taken_as_far_as_it_goes():
    data = sounds.encode(sounds.speech(), "ogg")
    assert 3 < len(decoded(data[: len(data) // 2])) / 24_000 < 9


def test_it_refuses_more_than_the_limit_and_says_how_long_it_is():
    data = sounds.encode(sounds.tone(120), "mp3")
    with pytest.raises(TooLong) as caught:
        decoded(data, limit=60)
    assert "120 s long; a voice sample may have at most 60 s" in caught.value.text


@pytest.mark.parametrize("seconds", [3, 60])
@pytest.mark.parametrize("name", sounds.MORE_FORMATS)
def test_a_recording_of_exactly_a_limit_is_taken(name, seconds):
    """Whatever its encoder added at both ends; the rest of it is cut off."""
    data = sounds.encode(sounds.tone(seconds, rate=8_000), name, source_rate=8_000)
    sound = decoded(data, limit=seconds)
    assert seconds - LENGTH_TOLERANCE < len(sound) / 24_000 <= seconds


def test_what_is_longer_than_the_tolerance_is_refused():
    for more, said in ((0.2, None), (0.3, "60.3 s long"), (0.6, "61 s long")):
        data = sounds.encode(sounds.tone(60 + more, rate=8_000), source_rate=8_000)
        if said is None:
            assert len(decoded(data)) == 60 * 24_000
            continue
        with pytest.raises(TooLong) as caught:
            decoded(data)
        assert f"{said}; a voice sample may have at most 60 s" in caught.value.text


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TooShort(2.96, 3), "is 2.9 s long; a voice sample needs at least 3 s"),
        (TooLong(60.01, 60), "is 60.1 s long; a voice sample may have at most 60 s"),
        (TooLong(60.4, 60), "is 60.4 s long"),
        (TooLong(119.8, 60), "is 120 s long"),
        (TooLong(None, 60), "is longer than 60 s; a voice sample may have at most"),
        (TooLittleSpeech(3.04, 2.96, 3), "Only 2.9 s of these 3.0 s have a voice"),
    ],
)
def test_no_refusal_contradicts_its_own_figures(error, says):
    assert says in error.text


def test_a_false_duration_in_the_header_changes_nothing():
    short = wav(np.zeros(24_000 * 4, "<i2").tobytes(), claimed=2**31)
    assert len(decoded(short)) / 24_000 == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("rate", [1, 100, 4_000_000_000])
def test_it_refuses_absurd_sample_rates(rate):
    with pytest.raises(NotAudio):
        decoded(wav(bytes(100_000), rate=rate))


def test_it_refuses_a_film_without_sound():
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            picture = np.zeros((64, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(NoSoundTrack):
        decoded(buffer.getvalue())


def test_an_mp3_with_a_picture_in_front_is_an_mp3():
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 0x10, 0]) + bytes(0x10 << 7)
    data = tag + sounds.encode(sounds.tone(4), "mp3")
    assert container_format(io.BytesIO(data)) == "mp3"
    assert len(decoded(data)) / 24_000 == pytest.approx(4, abs=0.1)


def test_the_name_of_a_file_means_nothing(tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(sounds.encode(sounds.tone(3), "flac"))
    with path.open("rb") as file:
        assert container_format(file) == "flac"
