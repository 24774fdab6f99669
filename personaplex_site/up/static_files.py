"""Collects the static files, and keeps those of earlier versions for a while.

A page that is still open after an update loads modules and sounds later on, by the
hashed names that it was made with. This module decides how long those are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command

STAMP = ".collected"
MANIFEST = "staticfiles.json"
HASHED = re.compile(r".+\.[0-9a-f]{12}\.[^/]+")  # as the storage names them
DAY_SECONDS = 24 * 3600


def collect() -> None:
    """Collecting compresses every file: only when one of them has changed."""
    root = Path(settings.STATIC_ROOT)
    stamp, now = root / STAMP, fingerprint()
    if stamp.exists() and stamp.read_text() == now:
        return
    clear(root, settings.STATIC_KEPT_DAYS)
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(now)
    sys.stdout.write(f"Static files collected in {root}\n")


def clear(root: Path, days: int) -> None:
    """Delete what is collected again, and hashed files that no version has used for so
    many days. A hashed name says what is in the file, so those can stay. A folder that
    we have not collected to before is left as it is."""
    if not (root / MANIFEST).exists():
        return
    (root / STAMP).unlink(missing_ok=True)  # first: what is half done is done again
    now = time.time()
    for path in newest_files(root):
        os.utime(path, (now, now))
    for path in [path for path in root.rglob("*") if path.is_file()]:
        unused = now - path.stat().st_mtime
        if not HASHED.fullmatch(path.name) or unused > days * DAY_SECONDS:
            path.unlink()


def newest_files(root: Path) -> list[Path]:
    """The hashed files of the version that was collected last, compressed ones too."""
    try:
        names = json.loads((root / MANIFEST).read_text())["paths"].values()
    except (OSError, ValueError, KeyError):
        return []
    paths = [root / (name + more) for name in names for more in ("", ".gz", ".br")]
    return [path for path in paths if path.is_file()]


def fingerprint() -> str:
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            full = storage.path(path)
            state = os.stat(full)
            digest.update(f"{full}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
