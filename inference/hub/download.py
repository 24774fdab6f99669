"""A whole model from the hub to a directory that loads with ``--model DIR``.

Decides what is fetched, in which order, and when a directory counts as complete. The
requests are remote.py's; it must not depend on the command line.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inference.hub.errors import (
    AlreadyRunning,
    CantWrite,
    DiskFull,
    FileMissing,
    UnknownLayout,
)
from inference.hub.remote import RemoteFile, Repository, checksum_holds
from inference.hub.unpack import voices_in
from inference.loading.checkpoint import (
    CONFIG,
    MAX_CONFIG_BYTES,
    check_folder,
    tensor_names,
)
from inference.loading.known_models import FILES, recognised
from inference.network.config import PERSONAPLEX_7B, ConfigError, ModelConfig
from inference.prompts.preset_voices import ARCHIVE, add_voices, preset_voices

log = logging.getLogger(__name__)

RECEIPT = "download.json"  # written last: what is here, and that all of it is
SPARE_BYTES = 200 * 1000 * 1000  # for the voices, unpacked, and other programs


@dataclass(frozen=True)
class Source:
    """``folder``: the name under which a downloaded model is known from then on."""

    repository: str
    revision: str
    folder: str
    voices: bool = True  # whether it must bring voices along


PERSONAPLEX = Source(
    "nvidia/personaplex-7b-v1",
    "fdaf4090a61cb315c138a1faee287ffd6c716309",
    PERSONAPLEX_7B.name,
)
MOSHI = tuple(
    Source(f"kyutai/{name}-pytorch-bf16", "main", name, voices=False)
    for name in ("moshiko", "moshika")
)


def source_of(wanted: str, revision: str = "") -> Source:
    """Of a repository's or a known model's name. ``revision`` "": the known one."""
    for known in (PERSONAPLEX, *MOSHI):
        if wanted in (known.repository, known.folder):
            break
    else:
        name = wanted.rsplit("/", 1)[-1]
        known = Source(wanted, "main", name, voices=False)
    return Source(
        known.repository, revision or known.revision, known.folder, known.voices
    )


@dataclass(frozen=True)
class Downloaded:
    folder: Path
    commit: str
    files: int
    bytes: int
    voices: int
    fetched: bool  # False: all of it was there


class Bar(Protocol):
    def to(self, done: float) -> None: ...


ShowBar = Callable[[str, int], AbstractContextManager[Bar]]


def is_complete(folder: Path) -> bool:
    """Whether a download ended here and its files still have their sizes."""
    try:
        receipt = json.loads((folder / RECEIPT).read_text())
        files: dict[str, Any] = receipt["files"]
        return bool(files) and all(
            (folder / name).stat().st_size == file["size"]
            for name, file in files.items()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def download(
    repository: Repository, source: Source, folder: Path, show: ShowBar
) -> Downloaded:
    """Fetch what is missing, check all of it, and write config.json and the receipt.
    A directory that is complete is checked by its files' checksums."""
    with _trouble(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            stored, files, archive = _described(repository, source)
            wanted = [*files, *archive]
            (folder / RECEIPT).unlink(missing_ok=True)
            missing = [
                file for file in wanted if not checksum_holds(file, folder / file.name)
            ]
            _check_space(folder, missing)
            for file in missing:
                _fetch(repository, file, folder, show)
            config = _configure(folder, stored)
            _add_voices(folder, archive, config)
            _write_receipt(folder, source, wanted)
    return Downloaded(
        folder=folder,
        commit=wanted[0].commit,
        files=len(wanted),
        bytes=sum(file.size for file in wanted),
        voices=len(preset_voices(folder)),
        fetched=bool(missing),
    )


def _described(
    repository: Repository, source: Source
) -> tuple[str, list[RemoteFile], list[RemoteFile]]:
    """What config.json says, the files that make up the model, small ones first, and
    the archive of voices if there is one."""
    weights, codec, tokenizer = (repository.describe(name) for name in FILES)
    try:
        archive = [repository.describe(ARCHIVE)]
    except FileMissing:
        if source.voices:
            raise
        log.info("%s brings no voices along", source.repository)
        archive = []
    try:
        config = repository.describe(CONFIG)
        stored = repository.read(config, MAX_CONFIG_BYTES).decode()
    except FileMissing:
        stored = ""
    except UnicodeDecodeError as error:
        raise UnknownLayout(f"{CONFIG}: {error}") from error
    return stored, [tokenizer, codec, weights], archive


def _check_space(folder: Path, missing: list[RemoteFile]) -> None:
    here = sum(
        part.stat().st_size
        for file in missing
        if (part := _part(folder, file)).exists()
    )
    needed = sum(file.size for file in missing) - here + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if missing and needed > free:
        raise DiskFull(
            f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed"
        )


def _part(folder: Path, file: RemoteFile) -> Path:
    """Named after the content, so that another revision's part is never resumed."""
    return folder / f"{file.name}.{file.checksum[:12]}.part"


def _fetch(
    repository: Repository, file: RemoteFile, folder: Path, show: ShowBar
) -> None:
    part = _part(folder, file)
    with show(file.name, file.size) as bar:
        repository.fetch(file, part, bar.to)
    os.replace(part, folder / file.name)


def _configure(folder: Path, stored: str) -> ModelConfig:
    """Write config.json, and hold the files against it. The hub's own is "nearly
    empty"; where it is one of ours, it counts."""
    try:
        config = recognised(stored, tensor_names(folder / FILES[0]))
    except ConfigError as error:
        raise UnknownLayout(str(error)) from error
    unfinished = folder / f"{CONFIG}.part"
    unfinished.write_text(config.to_json())
    os.replace(unfinished, folder / CONFIG)
    check_folder(folder)
    return config


def _add_voices(folder: Path, archive: list[RemoteFile], config: ModelConfig) -> None:
    for file in archive:
        voices = voices_in(folder / file.name)
        names = add_voices(folder, voices, config, replace=True)
        log.info("Voices: %s", ", ".join(names))


def _write_receipt(folder: Path, source: Source, files: list[RemoteFile]) -> None:
    receipt = {
        "repository": source.repository,
        "revision": source.revision,
        "commit": files[0].commit,
        "files": {
            file.name: {"size": file.size, "checksum": file.checksum} for file in files
        },
    }
    unfinished = folder / f"{RECEIPT}.part"
    unfinished.write_text(json.dumps(receipt, indent=2) + "\n")
    os.replace(unfinished, folder / RECEIPT)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".download.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(str(folder)) from error
        yield


@contextmanager
def _trouble(folder: Path) -> Iterator[None]:
    """What the disk says, in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"{folder} is full") from error
        raise CantWrite(f"{error.filename or folder}: {error.strerror}") from error
