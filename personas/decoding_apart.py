"""Decoding in a process of its own, with limits that FFmpeg does not keep by itself.

Memory, processor time and files are limited, and a crash on a file that was made for it
ends the child alone. Its environment is empty, so that there is no secret to be taken.
The decoding itself is in personas.decoding.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from io import UnsupportedOperation
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from inference.timing import SAMPLE_RATE
from personas.channels import AUTO, OneChannel
from personas.decoding import decode
from personas.errors import NotAudio, TooDemanding, VoiceError

log = logging.getLogger(__name__)

REFUSED = 3  # exit status: of a file that was refused, for the reason in the answer
CPU_SECONDS, WALL_SECONDS = 60, 120  # a minute of sound takes a second or two
OUTPUT_BYTES = 4  # of a sample
MAX_STDERR = 2000  # bytes that are kept
ROOT = Path(__file__).resolve().parent.parent
# One thread: each further one of a mathematical library takes address space.
ENVIRONMENT = {"PATH": os.defpath, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def decode_apart(
    file: BinaryIO, limit: int, megabytes: int, channel: str = AUTO
) -> OneChannel:
    """As ``decode``, with at most so much memory for the file. Raises as it does, and
    TooDemanding where the bounds are met."""
    with (
        tempfile.TemporaryFile() as copy,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as errors,
    ):
        command = [sys.executable, "-m", "personas.decoding_apart"]
        try:
            done = subprocess.run(
                [*command, str(limit), str(megabytes), channel],
                stdin=_with_descriptor(file, copy),
                stdout=answer,
                stderr=errors,
                cwd=ROOT,
                env=ENVIRONMENT,
                timeout=WALL_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise TooDemanding(f"more than {WALL_SECONDS} s") from error
        answer.seek(0)
        if done.returncode == 0:
            note = json.loads(answer.readline())
            sound = np.frombuffer(answer.read(), "<f4").astype(np.float32)
            return OneChannel(sound, note)
        errors.seek(0)
        raise _refusal(done.returncode, answer.read(), errors.read(MAX_STDERR))


def _with_descriptor(file: BinaryIO, copy: IO[bytes]) -> IO[bytes]:
    """``file`` itself, or a copy of what has no file of this machine behind it."""
    try:
        file.fileno()
    except (AttributeError, UnsupportedOperation):
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        return copy
    return file


def _refusal(status: int, answer: bytes, errors: bytes) -> VoiceError:
    if status == REFUSED:
        problem = json.loads(answer)
        error = VoiceError(problem["detail"], text=problem["text"])
        error.code = problem["code"]
        return error
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return TooDemanding(f"killed by signal {-status}")
    if status < 0:
        log.warning("decoding a voice sample ended by signal %d", -status)
        return NotAudio(f"the decoder ended by signal {-status}")
    detail = errors.decode(errors="replace")
    raise RuntimeError(f"decoding ended with {status}: {detail}")


def main() -> int:
    limit, megabytes, channel = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    _bound(megabytes * 2**20, (limit + 2) * SAMPLE_RATE * OUTPUT_BYTES)
    try:
        with open(0, "rb", buffering=0) as file:
            one = decode(file, limit, channel)
    except MemoryError:
        error: VoiceError = TooDemanding(f"more than {megabytes} MB")
    except VoiceError as refused:
        error = refused
    else:
        sys.stdout.buffer.write(json.dumps(one.note).encode() + b"\n")
        sys.stdout.buffer.write(one.sound.astype("<f4", copy=False).tobytes())
        return 0
    problem = {"code": error.code, "text": error.text, "detail": str(error)}
    sys.stdout.write(json.dumps(problem))
    return REFUSED


def _bound(memory: int, output: int) -> None:
    """From here on; what is loaded already is not counted."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bounds = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + memory,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: output,
        resource.RLIMIT_NPROC: 0,  # root is not bound by this one
        resource.RLIMIT_CORE: 0,
    }
    for bound, most in bounds.items():
        resource.setrlimit(bound, (most, most))


if __name__ == "__main__":
    raise SystemExit(main())
