"""The process in which files are decoded: the same sound, and what it can't do."""

import io
import os
import subprocess
import sys
import tempfile
import wave

import numpy as np
import pytest

from personas import decoding_apart
from personas.decoding import decode
from personas.decoding_apart import ENVIRONMENT, ROOT, decode_apart
from personas.errors import NotAudio, TooDemanding, TooLong, VoiceError
from tests import sounds


def test_it_says_what_decoding_here_says():
    data = sounds.encode(sounds.speech(4), "ogg")
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        apart = decode_apart(file, 60, 256)
    here = decode(io.BytesIO(data), 60)
    assert (apart.sound == here.sound).all()
    assert apart.note == here.note == ""


def test_what_was_noticed_comes_along():
    speech = sounds.speech(4)
    data = sounds.encode(np.stack([speech, -speech]), "flac", layout="stereo")
    apart = decode_apart(io.BytesIO(data), 60, 256)
    assert "opposite polarity" in apart.note
    assert decode_apart(io.BytesIO(data), 60, 256, "left").note == ""


def test_many_channels_fit_into_the_memory_that_is_given():
    noise = np.random.default_rng(1).integers(-9999, 9999, (59 * 24_000, 8), "<i2")
    minute = io.BytesIO()
    with wave.open(minute, "wb") as file:
        file.setparams((8, 2, 24_000, len(noise), "NONE", ""))
        file.writeframes(noise.tobytes())
    assert len(decode_apart(minute, 60, 256).sound) == len(noise)


def test_a_refusal_keeps_its_code_and_its_words():
    data = sounds.encode(sounds.tone(5), "wav")
    with pytest.raises(TooLong) as here:
        decode(io.BytesIO(data), 4)
    with pytest.raises(VoiceError) as apart:
        decode_apart(io.BytesIO(data), 4, 256)
    assert apart.value.code == here.value.code
    assert apart.value.text == here.value.text
    assert str(apart.value) == str(here.value)


def test_more_memory_than_allowed_is_refused():
    minute = io.BytesIO(sounds.encode(sounds.tone(59), "flac"))
    with pytest.raises(VoiceError) as refused:
        decode_apart(minute, 60, 8)
    assert refused.value.code == "too_demanding"
    assert refused.value.text == TooDemanding.text


def bounded(code):
    """What Python says that has 64 MB more and may write 1,000 bytes."""
    start = "from personas.decoding_apart import _bound; _bound(64 * 2**20, 1000)\n"
    command = [sys.executable, "-c", start + code]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    return done.returncode, done.stderr.decode()


def test_the_bounds_are_the_kernels(tmp_path):
    """Memory, whichever library allocates it, and what is written."""
    code = "import numpy; numpy.ones(32 * 2**20, 'u1'); numpy.ones(65 * 2**20, 'u1')"
    status, said = bounded(code)
    assert status == 1 and "MemoryError" in said
    code = f"open({str(tmp_path / 'f')!r}, 'wb', 0).write(bytes(1001))"
    bounded(code)
    assert os.path.getsize(tmp_path / "f") == 1000


def test_it_knows_no_secret():
    assert not [name for name in ENVIRONMENT if "SECRET" in name or "URL" in name]


@pytest.mark.parametrize(
    ("does", "error"),
    [
        ("import os; os.kill(os.getpid(), 11)", NotAudio),
        ("import os; os.kill(os.getpid(), 9)", TooDemanding),
        ("import os; os.kill(os.getpid(), 24)", TooDemanding),
        ("raise ValueError('a bug')", RuntimeError),
        ("import time; time.sleep(9)", TooDemanding),
    ],
)
def test_whatever_becomes_of_the_process_is_an_error_of_the_file(
    does, error, monkeypatch, tmp_path
):
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{does}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(decoding_apart.sys, "executable", str(script))
    monkeypatch.setattr(decoding_apart, "WALL_SECONDS", 1)
    with pytest.raises(error):
        decode_apart(io.BytesIO(b"x"), 60, 256)
