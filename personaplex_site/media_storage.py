"""Files that people send, on this machine's disk: whole or not at all."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.core.files.storage import FileSystemStorage


class WholeFileStorage(FileSystemStorage):
    """Django leaves the half of a file that still went onto a full disk.

    All our names are random, so the one that was free when saving began is ours.
    """

    def _save(self, name: str, content: Any) -> str:
        try:
            return super()._save(name, content)  # type: ignore[misc]
        except BaseException:
            with suppress(OSError):
                self.delete(name)
            raise
