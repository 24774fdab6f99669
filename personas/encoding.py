"""Getting a sample encoded: by an inference worker, or by a process of our own.

The choice between the two is made here. No tensors: the neural network runs in another
process either way.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from inference.errors import ModelError, PersonaplexError
from inference.models import Worker
from inference.worker.client import encode_voice

log = logging.getLogger(__name__)

Progress = Callable[[float], None]  # 0.0 … 1.0; may raise to stop the encoding


@dataclass(frozen=True)
class Encoded:
    prompt: bytes  # .pt, spec 9.4
    fingerprint: str


def encode(
    pcm: NDArray[np.float32], progress: Progress, fingerprint: str = ""
) -> Encoded:
    """Encode 24 kHz mono, already at −24 LUFS. With a ``fingerprint`` only for that
    model. Workers first, the emptiest first; without any, on this machine's CPU."""
    workers = Worker.objects.open()
    if fingerprint:
        workers = workers.filter(fingerprint=fingerprint)
    for worker in workers:
        try:
            prompt = encode_voice(
                worker.url,
                settings.WORKER_SECRET,
                pcm,
                progress,
                fingerprint=worker.fingerprint,
            )
        except PersonaplexError as error:
            log.warning("%s could not encode a voice: %s", worker.name, error)
            continue
        return Encoded(prompt, worker.fingerprint)
    encoded = encode_here(pcm, progress)
    if fingerprint and encoded.fingerprint != fingerprint:
        raise ModelError(f"no worker runs {fingerprint}, and this machine doesn't")
    return encoded


def encode_here(pcm: NDArray[np.float32], progress: Progress) -> Encoded:
    """Run ``python -m inference encode-voice`` and follow what it says.

    It reads float32 from a file, writes the .pt to another and prints JSON lines:
    ``{"progress": 0.4}`` … and at last ``{"fingerprint": …}``.
    """
    parent = _parent()
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        source, target = Path(folder, "sample.f32"), Path(folder, "voice.pt")
        source.write_bytes(pcm.astype("<f4", copy=False).tobytes())
        fingerprint = _follow(_command(source, target), progress)
        return Encoded(target.read_bytes(), fingerprint)


def forget_abandoned(older_than: float) -> int:
    """Delete what killed processes left: folders older than so many seconds."""
    before = time.time() - older_than
    abandoned = [f for f in _parent().glob("*") if f.stat().st_mtime < before]
    for folder in abandoned:
        shutil.rmtree(folder, ignore_errors=True)
    return len(abandoned)


def _parent() -> Path:
    return settings.DATA_DIR / "encoding"


def _command(source: Path, target: Path) -> list[str]:
    command = [sys.executable, "-m", "inference", "encode-voice"]
    return [*command, str(source), "--out", str(target)]


def _follow(command: list[str], progress: Progress) -> str:
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            last: dict[str, object] = {}
            for line in process.stdout:
                last = json.loads(line)
                if isinstance(done := last.get("progress"), int | float):
                    progress(float(done))
        except BaseException:
            process.kill()
            raise
        if process.wait() or not isinstance(last.get("fingerprint"), str):
            errors.seek(0)
            tail = errors.read()[-2000:].decode(errors="replace")
            raise ModelError(f"encode-voice ended with {process.returncode}: {tail}")
        return str(last["fingerprint"])
