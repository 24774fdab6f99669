"""Voice prompt files, the ``.pt`` of the reference (spec section 9.4).

Reads them as untrusted input, and writes them. Must not depend on sound or run the
network.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inference.errors import VoicePromptError
from inference.network.config import AGENT, TEXT, USER, ModelConfig
from inference.network.timeline import ring_row
from inference.timing import STREAMS

MAX_BYTES = 16 * 1024 * 1024
MAX_ENTRIES = 64  # files in the archive; a voice prompt has about 8
MAX_FRAMES = 1500  # 120 s
MAX_MAGNITUDE = 1e4  # of an embedding; sums of 17 trained vectors are far below
# What PyTorch's restricted unpickler was seen to raise on broken or hostile bytes.
UNREADABLE = (
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    RuntimeError,  # also RecursionError and NotImplementedError
    ValueError,  # also UnicodeDecodeError
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    EOFError,
    ImportError,
    OSError,
    ArithmeticError,
    MemoryError,
)


@dataclass(frozen=True)
class VoicePrompt:
    """``embeddings`` bf16 [V-1, dim]: summed input embeddings of rows 0..V-2;
    ``ring`` int64 [17, 4]: the token ring after the V voice frames."""

    embeddings: Tensor
    ring: Tensor
    digest: str = ""

    @property
    def frames(self) -> int:
        return self.embeddings.shape[0] + 1


def write_voice(voice: VoicePrompt) -> bytes:
    file = io.BytesIO()
    embeddings = voice.embeddings.to("cpu", torch.bfloat16)
    tensors = {
        "embeddings": embeddings[:, None, None].contiguous().clone(),
        "cache": voice.ring[None].contiguous().clone(),
    }
    torch.save(tensors, file)
    return file.getvalue()


def read_voice(data: bytes, config: ModelConfig) -> VoicePrompt:
    """VoicePromptError for anything but a voice prompt that fits this model."""
    if len(data) > MAX_BYTES:
        raise _refused(f"{len(data)} bytes, at most {MAX_BYTES}")
    try:
        _check_archive(data)
        # Tensors only: no code of the file is run.
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise _refused(f"{type(error).__name__}: {error}") from error
    return _checked(loaded, config, hashlib.sha256(data).hexdigest())


def _refused(detail: str) -> VoicePromptError:
    return VoicePromptError(f"not a voice prompt for this model: {detail}")


def _check_archive(data: bytes) -> None:
    """What torch.save writes is stored, never compressed; so nothing may unpack to
    more than the file itself, and no entry may be counted twice."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise _refused(f"{len(entries)} files in the archive")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise _refused("compressed archive")
    if sum(entry.file_size for entry in entries) > len(data):
        raise _refused("archive unpacks to more than its size")


def _checked(loaded: Any, config: ModelConfig, digest: str) -> VoicePrompt:
    if type(loaded) is not dict or set(loaded) != {"embeddings", "cache"}:
        raise _refused("it must hold exactly embeddings and cache")
    embeddings, cache = loaded["embeddings"], loaded["cache"]
    columns = max(config.delays) + 3
    dim = config.temporal.dim
    _check_tensor("embeddings", embeddings, torch.bfloat16, (None, 1, 1, dim))
    _check_tensor("cache", cache, torch.int64, (1, STREAMS, columns))
    if not 1 <= embeddings.shape[0] < MAX_FRAMES:
        raise _refused(f"{embeddings.shape[0]} rows")
    # Copies: a stored view may share or overlap memory.
    flat = embeddings[:, 0, 0].clone(memory_format=torch.contiguous_format)
    voice = VoicePrompt(flat, cache[0].clone(), digest)
    if not bool((flat.float().abs() < MAX_MAGNITUDE).all()):
        raise _refused("embeddings out of range")
    _check_tokens(voice, config)
    return voice


def _check_tensor(
    name: str, tensor: Any, dtype: torch.dtype, shape: tuple[int | None, ...]
) -> None:
    if type(tensor) is not Tensor or tensor.layout != torch.strided:
        raise _refused(f"{name} is no plain tensor")
    fits = len(shape) == tensor.dim() and all(
        want in (None, got) for want, got in zip(shape, tensor.shape, strict=True)
    )
    if tensor.device.type != "cpu" or tensor.dtype != dtype or not fits:
        raise _refused(f"{name} is {tensor.dtype} {list(tensor.shape)}")


def _check_tokens(voice: VoicePrompt, config: ModelConfig) -> None:
    """Only the cells that are read; the others may hold anything."""
    row, carry = ring_row(config, voice.ring, voice.frames)
    limit = torch.full((STREAMS,), config.audio_start)
    limit[TEXT] = config.text_start
    delayed = torch.tensor(config.delays) > 0
    read = torch.stack((row, torch.where(delayed, carry, 0)))
    for name, streams in (("text", slice(TEXT, 1)), ("agent", AGENT), ("user", USER)):
        cells = read[:, streams]
        if not bool(((cells >= 0) & (cells <= limit[streams])).all()):
            raise _refused(f"cache holds {name} tokens out of range")
