"""The archive of packaged voices: checked as hostile, then unpacked.

Decides which members are taken and how large they may be. Reading the voices in them
is left to :mod:`inference.prompts.voice_file`.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from inference.hub.errors import HostileArchive
from inference.prompts.voice_file import MAX_BYTES
from inference.prompts.voice_name import VOICE_NAME

MAX_MEMBERS = 256
MAX_TOTAL = 256 * 1024 * 1024  # unpacked; the 18 voices have about 8 MB
# A voice directly in the archive or in its one folder, under a plain name.
VOICE = re.compile(rf"(?:\./)?(?:voices/)?({VOICE_NAME.pattern})\.pt")


class _Bounded(io.RawIOBase):
    """At most ``limit`` bytes of a stream, whatever is asked for."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream, self._left = stream, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        piece = self._stream.read(wanted)
        self._left -= len(piece)
        if self._left < 0:
            raise HostileArchive(f"it unpacks to more than {MAX_TOTAL} bytes")
        return piece


def voices_in(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every voice. HostileArchive as soon as anything is wrong,
    so use nothing before the end. Other plain files (a README) are passed over."""
    try:
        with gzip.open(archive, "rb") as packed:
            bounded: IO[bytes] = _Bounded(packed, MAX_TOTAL)  # type: ignore[assignment]
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                yield from _voices(tar)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise HostileArchive(f"{archive.name}: {error}") from error


def _voices(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for count, member in enumerate(tar):
        if count == MAX_MEMBERS:
            raise HostileArchive(f"more than {MAX_MEMBERS} members")
        name = _voice_name(member)
        if name is None:
            continue
        if name in seen:
            raise HostileArchive(f"{name} twice")
        seen.add(name)
        if not 0 < member.size <= MAX_BYTES:
            raise HostileArchive(f"{name} has {member.size} bytes")
        stream = tar.extractfile(member)
        content = b"" if stream is None else stream.read()
        if len(content) != member.size:
            raise HostileArchive(f"{name} breaks off")
        yield name, content
    if not seen:
        raise HostileArchive("no voices in it")


def _voice_name(member: tarfile.TarInfo) -> str | None:
    """None for a member to pass over."""
    shown = f"{member.name!r:.80}"
    parts = member.name.split("/")
    if member.name.startswith("/") or ".." in parts or set(member.name) & set("\\\0"):
        raise HostileArchive(f"member {shown} leads out of the folder")
    if member.type == tarfile.DIRTYPE:
        return None
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise HostileArchive(f"member {shown} is a link, a device or the like")
    found = VOICE.fullmatch(member.name)
    return found[1] if found else None
