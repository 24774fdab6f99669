"""Models from directories: config.json, weights, codec and tokenizer, all checked.

Decides which files make up a model and which of their tensors become resident. Whatever
is missing, extra or misshapen is an error, and nothing is allocated before
all names and shapes were checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inference.loading.filler_codes import find_filler_codes
from inference.loading.known_models import FILES, is_ours, other_layout, recognised
from inference.loading.layouts import as_stored
from inference.loading.safetensors_file import CheckpointError, TensorFile
from inference.network.config import ConfigError, ModelConfig
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi, fp32_convolutions
from inference.network.stored import StoredTensor, stored_tensors
from inference.prompts.persona import FillerCodes
from inference.prompts.tokenizer import Tokenizer

BUILT_IN = Path(__file__).parent.parent / "weights"
CONFIG = "config.json"
RANDOM_SEED = 42  # of the weights of a model that is not trained yet
MAX_CONFIG_BYTES = 1024 * 1024
SAMPLE_BYTES, SAMPLES = 64 * 1024, 64  # of a large file, for its fingerprint
DOWNLOADED = "download.json"  # beside the files of a model that came from the hub


@dataclass(frozen=True)
class Model:
    """All that an engine needs; the same for every session."""

    config: ModelConfig
    lm: LanguageModel
    mimi: Mimi
    tokenizer: Tokenizer
    filler: FillerCodes
    fingerprint: str
    trained: bool  # False: seeded random weights

    @property
    def device(self) -> torch.device:
        return self.lm.text_emb.device


def load_model(
    source: Path | str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Model:
    """``source``: a directory, or the name of a built-in or downloaded model.

    CheckpointError names everything that is wrong. ``dtype`` None: fp32 on a CPU,
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
    tokenizer = _tokenizer(folder, config)
    if present:
        _check(config, *files)
    lm, mimi = LanguageModel(config, dtype, device), Mimi(config.mimi)
    if present:
        load_language_model(files[0], lm)
        load_codec(files[1], mimi)
    else:
        lm.init_weights(torch.Generator().manual_seed(RANDOM_SEED))
        mimi.init_weights(torch.Generator().manual_seed(RANDOM_SEED))
    mimi.to(device).eval().requires_grad_(False)
    fingerprint = fingerprint_of(config, present)
    filler = find_filler_codes(config, mimi)
    return Model(config, lm, mimi, tokenizer, filler, fingerprint, bool(present))


def model_folder(source: Path | str, models: Path | str = "") -> Path:
    """Of a directory, a built-in model or one of those downloaded to ``models``."""
    folder, models = Path(source), models_folder(models)
    if not folder.is_dir() and str(source) in built_in_models():
        folder = BUILT_IN / source
    if not folder.is_dir() and str(source) in downloaded_models(models):
        folder = models / source
    if not folder.is_dir():
        known = ", ".join(built_in_models() + downloaded_models(models))
        raise CheckpointError(
            text=f"{source} is no directory, and no model that is here ({known}). Give "
            "--model a directory or one of these names, or fetch a model with "
            "`python -m inference download`.",
        )
    return folder


def built_in_models() -> list[str]:
    return sorted(file.parent.name for file in BUILT_IN.glob(f"*/{CONFIG}"))


def models_folder(given: Path | str = "") -> Path:
    """Where downloaded models lie, each in a folder of its name."""
    return Path(given or Path.home() / ".cache" / "personaplex" / "models")


def downloaded_models(models: Path) -> list[str]:
    """Only whole ones: the receipt of a download is written last."""
    return sorted(file.parent.name for file in models.glob(f"*/{DOWNLOADED}"))


def read_config(folder: Path) -> ModelConfig:
    """Of config.json; where there is none of ours, by the published files."""
    path = folder / CONFIG
    try:
        stored = _read_text(path) if path.is_file() else ""
        published = all((folder / name).is_file() for name in FILES)
        if published and not is_ours(stored):
            return recognised(stored, tensor_names(folder / FILES[0]))
        if path.is_file():
            return ModelConfig.from_json(stored)
        raise CheckpointError(f"{folder} holds no {CONFIG}, nor {', '.join(FILES)}")
    except (OSError, ValueError) as error:  # also ConfigError and UnicodeDecodeError
        raise CheckpointError(f"{path}: {error}") from error


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_CONFIG_BYTES + 1)
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError(f"more than {MAX_CONFIG_BYTES} bytes")
    return content.decode()


def tensor_names(path: Path) -> set[str]:
    return set(TensorFile(path).tensors)


def check_folder(folder: Path) -> ModelConfig:
    """All that loading would check, in a second and without the memory."""
    config = read_config(folder)
    _check(config, folder / config.weights, folder / config.codec)
    _tokenizer(folder, config)
    return config


def _tokenizer(folder: Path, config: ModelConfig) -> Tokenizer:
    try:
        return Tokenizer(folder / config.tokenizer, config.text_cardinality)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _check(config: ModelConfig, weights: Path, codec: Path) -> None:
    """Both files held against models that have shapes and no memory."""
    lm_file, codec_file = TensorFile(weights), TensorFile(codec)
    if (other := other_layout(lm_file.tensors)) is not None:
        raise CheckpointError(
            f"{weights} holds {other}",
            text="These weights are of a model or a layout that can't be run.",
        )
    with torch.device("meta"):
        lm = LanguageModel(config, torch.bfloat16, "meta")
        mimi = Mimi(config.mimi)
    _stored(lm_file, lm)
    codec_file.check(_shapes(mimi))


def _stored(file: TensorFile, lm: LanguageModel) -> list[StoredTensor]:
    """What the file must hold, exactly, and does."""
    stored = list(as_stored(stored_tensors(lm), file.tensors))
    file.check({tensor.name: tensor.shape for tensor in stored})
    return stored


def _shapes(mimi: Mimi) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in mimi.state_dict().items()}


@torch.no_grad()
def load_language_model(path: Path, lm: LanguageModel) -> None:
    """Tensor by tensor, so that the host holds one of them at a time; nothing of the
    depth steps that are never run."""
    file = TensorFile(path)
    for tensor in _stored(file, lm):
        if tensor.target is not None:
            rows = file.read(tensor.name, tensor.resident_rows)
            tensor.target.copy_(rows.reshape(tensor.target.shape))


def load_codec(path: Path, mimi: Mimi) -> None:
    """Whole: it has 0.4 GB, and its codebooks are worked out from what comes."""
    fp32_convolutions()
    file = TensorFile(path)
    file.check(_shapes(mimi))
    mimi.load_state_dict({name: file.read(name) for name in _shapes(mimi)})


def fingerprint_of(config: ModelConfig, files: list[Path]) -> str:
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
