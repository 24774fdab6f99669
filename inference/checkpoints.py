"""Models from directories: config.json, weights, codec and tokenizer, all checked.

Owns names and shapes of the stored tensors and which of them become resident. Nothing
missing, extra or misshapen is passed over in silence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference.errors import PersonaplexError
from inference.network.config import ConfigError, ModelConfig
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.network.stored import StoredTensor, stored_tensors
from inference.prompts import PersonaPrompt, QuietCodes, persona_prompt
from inference.quiet import quiet_codes
from inference.text import Tokenizer
from inference.voice_files import VoicePrompt

BUILT_IN = Path(__file__).parent / "weights"
CONFIG = "config.json"
RANDOM_SEED = 42  # of the weights of a model that is not trained yet
MAX_CONFIG_BYTES = 1024 * 1024
SAMPLE_BYTES, SAMPLES = 64 * 1024, 64  # of a large file, for its fingerprint
STORED_TYPES = ("BF16", "F16", "F32")


class CheckpointError(PersonaplexError):
    code = "checkpoint"
    text = "The model can't be loaded. Its files are missing or broken."


@dataclass(frozen=True)
class Model:
    """All that an engine needs; the same for every session."""

    config: ModelConfig
    lm: LanguageModel
    mimi: Mimi
    tokenizer: Tokenizer
    quiet: QuietCodes
    fingerprint: str
    trained: bool  # False: seeded random weights

    @property
    def device(self) -> torch.device:
        return self.lm.text_emb.device

    def prompt(self, role: str, voice: VoicePrompt | None = None) -> PersonaPrompt:
        return persona_prompt(self.config, self.tokenizer, self.quiet, role, voice)


def load_model(
    source: Path | str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Model:
    """``source``: a directory, or the name of a built-in model ("tiny").

    CheckpointError says by name all that is wrong. ``dtype`` None: fp32 on a CPU,
    bf16 elsewhere.
    """
    device = torch.device(device)
    if dtype is None:
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    folder = model_folder(source)
    config = read_config(folder)
    files = [folder / config.weights, folder / config.codec]
    present = [file for file in files if file.is_file()]
    if present and len(present) < len(files):
        (missing,) = set(files) - set(present)
        raise CheckpointError(f"{missing} is missing")
    if not present and folder.parent != BUILT_IN:
        raise CheckpointError(f"{folder} holds no {config.weights}")
    try:
        tokenizer = Tokenizer(folder / config.tokenizer, config.text_cardinality)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    lm, mimi = LanguageModel(config, dtype, device), Mimi(config.mimi)
    if present:
        load_language_model(files[0], lm)
        load_codec(files[1], mimi)
    else:
        lm.init_weights(torch.Generator().manual_seed(RANDOM_SEED))
        mimi.init_weights(torch.Generator().manual_seed(RANDOM_SEED))
    mimi.to(device).eval().requires_grad_(False)
    fingerprint = _fingerprint(config, present)
    quiet = quiet_codes(config, mimi)
    return Model(config, lm, mimi, tokenizer, quiet, fingerprint, bool(present))


def model_folder(source: Path | str) -> Path:
    folder = Path(source)
    if not folder.is_dir() and str(source) in built_in_models():
        folder = BUILT_IN / source
    if not folder.is_dir():
        known = ", ".join(built_in_models())
        raise CheckpointError(f"{source} is no directory and none of {known}")
    return folder


def built_in_models() -> list[str]:
    return sorted(file.parent.name for file in BUILT_IN.glob(f"*/{CONFIG}"))


def read_config(folder: Path) -> ModelConfig:
    path = folder / CONFIG
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES).decode()
        return ModelConfig.from_json(text)
    except (OSError, ValueError) as error:  # also ConfigError and UnicodeDecodeError
        raise CheckpointError(f"{path}: {error}") from error


def load_language_model(path: Path, lm: LanguageModel) -> None:
    """Tensor by tensor, so that the host holds one of them at a time."""
    with _opened(path) as file:
        stored = list(stored_tensors(lm))
        _check_names(path, file, {tensor.name: tensor.shape for tensor in stored})
        for tensor in stored:
            if tensor.target is not None:
                _copy(file, tensor)


def load_codec(path: Path, mimi: Mimi) -> None:
    expected = {name: tuple(t.shape) for name, t in mimi.state_dict().items()}
    with _opened(path) as file:
        _check_names(path, file, expected)
        mimi.load_state_dict({name: file.get_tensor(name) for name in expected})


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: {error}") from error


@torch.no_grad()
def _copy(file: Any, tensor: StoredTensor) -> None:
    target = tensor.target
    assert target is not None
    rows = file.get_slice(tensor.name)[: tensor.resident_rows]
    target.copy_(rows.reshape(target.shape))


def _check_names(
    path: Path, file: Any, expected: Mapping[str, tuple[int, ...]]
) -> None:
    found = set(file.keys())
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"extra {name}" for name in sorted(found - set(expected))]
    for name in sorted(found & set(expected)):
        header = file.get_slice(name)
        shape, kind = tuple(header.get_shape()), header.get_dtype()
        if shape != expected[name]:
            problems.append(f"{name} is {list(shape)}, not {list(expected[name])}")
        if kind not in STORED_TYPES:
            problems.append(f"{name} is {kind}, not one of {', '.join(STORED_TYPES)}")
    if problems:
        raise CheckpointError(f"{path}: " + "; ".join(problems))


def _fingerprint(config: ModelConfig, files: list[Path]) -> str:
    """Of config and weights: the whole of small files, samples of large ones."""
    digest = hashlib.sha256(config.to_json().encode())
    if not files:
        digest.update(f"seed {RANDOM_SEED}".encode())
    for file in files:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()[:32]


def _blocks(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    yield str(size).encode()
    step = SAMPLE_BYTES if size <= SAMPLES * 1024 * 1024 else size // SAMPLES
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            yield file.read(SAMPLE_BYTES)
        file.seek(max(size - SAMPLE_BYTES, 0))
        yield file.read()


def state_to_store(lm: LanguageModel) -> dict[str, Tensor]:
    """The model's tensors by their stored names, for writing a checkpoint. Only for
    models whose every stored tensor is resident."""
    tensors = {}
    for stored in stored_tensors(lm):
        if stored.target is None or stored.resident_rows != stored.shape[0]:
            raise ValueError(f"{stored.name} is not resident")
        tensors[stored.name] = stored.target.detach().reshape(stored.shape).clone()
    return tensors
