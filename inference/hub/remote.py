"""One repository of the hub: what it says of a file, and the file, in pieces that may
be resumed.

Sends the requests and translates their failures. huggingface_hub itself keeps no part
of a download that was interrupted (2.4), and a model is 17 GB: hence our own transfer
over its session, headers and errors. It must not depend on models.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from inference.hub.errors import (
    BrokenDownload,
    DownloadError,
    FileMissing,
    HubFailed,
    LicenceNotAccepted,
    NoChecksum,
    NoNetwork,
    NoToken,
    Offline,
    TokenRefused,
    TokenTooNarrow,
    UnknownRepository,
    UnknownRevision,
    WrongChecksum,
)
from inference.version import VERSION

log = logging.getLogger(__name__)

SECONDS = 20.0  # without a byte, then the connection counts as broken
ATTEMPTS = 5  # in a row that bring nothing
CHUNK = 1024 * 1024
SHA256, GIT_SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")
Progress = Callable[[int], None]  # bytes of the file that are here


@dataclass(frozen=True)
class RemoteFile:
    """``checksum``: hexadecimal SHA-256 of a large file; of a small one git's, the
    SHA-1 of its length and content."""

    name: str
    url: str
    size: int
    checksum: str
    commit: str

    def hasher(self) -> Any:
        if SHA256.fullmatch(self.checksum):
            return hashlib.sha256()
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(f"blob {self.size}\0".encode())
        return digest


class _Transfer:
    """How much of a file is here, and the hash of that much."""

    def __init__(self, file: RemoteFile, out: BinaryIO, progress: Progress) -> None:
        self.file, self.done = file, 0
        self._out, self._progress = out, progress
        self._digest = file.hasher()

    def take_over(self) -> None:
        """Count what an earlier attempt left."""
        self._out.seek(0)
        while piece := self._out.read(CHUNK):
            self._count(piece)
        self._progress(self.done)

    def restart(self) -> None:
        self._out.truncate(0)
        self.done, self._digest = 0, self.file.hasher()

    def add(self, piece: bytes) -> None:
        self._count(piece)
        self._out.write(piece)
        self._progress(self.done)

    def check(self) -> None:
        _check(self.file, self._digest)

    def _count(self, piece: bytes) -> None:
        self.done += len(piece)
        if self.done > self.file.size:
            raise WrongChecksum(f"{self.file.name}: more than {self.file.size} bytes")
        self._digest.update(piece)


class Repository:
    def __init__(
        self,
        name: str,
        revision: str,
        *,
        token: str | None = None,
        endpoint: str | None = None,
        pause: float = 1.0,
    ) -> None:
        """``token`` None: HF_TOKEN's, or that of ``hf auth login``. ``endpoint``
        None: HF_ENDPOINT's, or the hub. ``pause``: seconds before a second attempt,
        doubled for each one after it."""
        self.name, self.revision = name, revision
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._token = token or get_token()
        self._pause = pause
        self._headers = build_hf_headers(
            token=self._token or False,
            library_name="personaplex",
            library_version=VERSION,
        )
        # Compressed on the way, a range of bytes would not be one of the file's.
        self._headers["accept-encoding"] = "identity"

    def describe(self, file: str) -> RemoteFile:
        with self._meanings(file):
            url = hf_hub_url(
                self.name, file, revision=self.revision, endpoint=self._endpoint
            )
            found = get_hf_file_metadata(
                url, token=self._token or False, timeout=SECONDS, headers=self._headers
            )
        size, checksum = found.size, found.etag or ""
        stated = SHA256.fullmatch(checksum) or GIT_SHA1.fullmatch(checksum)
        if size is None or not stated or not found.commit_hash:
            raise NoChecksum(f"{url}: size {size}, checksum {checksum or None}")
        return RemoteFile(file, url, size, checksum, found.commit_hash)

    def read(self, file: RemoteFile, limit: int) -> bytes:
        """A small file's content."""
        if file.size > limit:
            raise BrokenDownload(f"{file.name} has {file.size} bytes, at most {limit}")
        content = bytearray()
        with self._meanings(file.name), self._stream(file, 0) as response:
            for piece in response.iter_bytes():
                content += piece
                if len(content) > file.size:
                    break
        digest = file.hasher()
        digest.update(content)
        _check(file, digest)
        return bytes(content)

    def fetch(self, file: RemoteFile, path: Path, progress: Progress) -> None:
        """All of ``file`` to ``path``, which may hold its beginning already. What is
        not what the hub says is deleted."""
        try:
            with path.open("a+b") as out:
                transfer = _Transfer(file, out, progress)
                transfer.take_over()
                self._fetch_rest(transfer)
                transfer.check()
        except WrongChecksum:
            path.unlink(missing_ok=True)
            raise

    def _fetch_rest(self, transfer: _Transfer) -> None:
        file, failed = transfer.file, 0
        while transfer.done < file.size:
            before, cut = transfer.done, "the connection was closed early"
            try:
                self._receive(transfer)
            except httpx2.TransportError as error:
                cut = str(error) or type(error).__name__
            if transfer.done == file.size:
                return
            failed = 0 if transfer.done > before else failed + 1
            if failed >= ATTEMPTS:
                got = f"{transfer.done} of {file.size} bytes"
                raise BrokenDownload(f"{file.name} broke off at {got}: {cut}")
            log.warning("%s: %s. Trying again.", file.name, cut)
            time.sleep(self._pause * 2**failed)

    def _receive(self, transfer: _Transfer) -> None:
        """One request for the rest."""
        file = transfer.file
        with (
            self._meanings(file.name, broken=True),
            self._stream(file, transfer.done) as answer,
        ):
            if transfer.done and answer.status_code != 206:
                transfer.restart()  # the server sends all of it
            # As it comes: what waits to fill a larger piece is lost with a connection.
            for piece in answer.iter_bytes():
                transfer.add(piece)

    @contextmanager
    def _stream(self, file: RemoteFile, start: int) -> Iterator[httpx2.Response]:
        headers = dict(self._headers)
        if start:
            headers["range"] = f"bytes={start}-"
        # httpx takes the token off when a redirection leads to another host.
        with get_session().stream(
            "GET", file.url, headers=headers, timeout=SECONDS
        ) as response:
            if response.is_error:
                with suppress(httpx2.HTTPError):
                    response.read()
            hf_raise_for_status(response)
            yield response

    @contextmanager
    def _meanings(self, file: str, broken: bool = False) -> Iterator[None]:
        """Failures of the hub's own kinds as ours. ``broken``: a connection that
        fails is the caller's to mend."""
        try:
            yield
        except OfflineModeIsEnabled as error:
            raise Offline(str(error)) from error
        except HFValidationError as error:
            raise UnknownRepository(f"{self.name}: {error}") from error
        except HfHubHTTPError as error:
            raise self._meaning(file, error) from error
        except httpx2.TransportError as error:
            if broken:
                raise
            raise NoNetwork(f"{self._endpoint}: {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NoNetwork(f"{self._endpoint}: {error}") from error

    def _meaning(self, file: str, error: HfHubHTTPError) -> DownloadError:
        status = error.response.status_code
        message = error.response.headers.get("X-Error-Message") or str(error).strip()
        detail = f"{self.name} {file}, status {status}: {message.splitlines()[0]}"
        match error:
            case RevisionNotFoundError():
                return UnknownRevision(f"{self.name} has no revision {self.revision}")
            case EntryNotFoundError():
                return FileMissing(f"{self.name} has no {file}")
            case GatedRepoError() if not self._token:
                return NoToken(detail)
            case GatedRepoError() if status == 403:
                return LicenceNotAccepted(detail, f"{self._endpoint}/{self.name}")
        if status == 401 and self._token:
            return TokenRefused(detail)
        if isinstance(error, RepositoryNotFoundError) or status == 404:
            return UnknownRepository(detail)
        if status == 401:
            return NoToken(detail)
        return TokenTooNarrow(detail) if status == 403 else HubFailed(detail)


def _check(file: RemoteFile, digest: Any) -> None:
    found = digest.hexdigest()
    if found != file.checksum:
        raise WrongChecksum(f"{file.name} has {found:.16}…, not {file.checksum:.16}…")


def checksum_holds(file: RemoteFile, path: Path) -> bool:
    """Whether ``path`` is that file, by its length first."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = file.hasher()
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
    return bool(digest.hexdigest() == file.checksum)
