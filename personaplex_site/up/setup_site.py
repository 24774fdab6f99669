"""Brings the site's database and files up to this version, in one Django process.

Run by the supervisor as ``python -m personaplex_site.up.setup_site WORKER``: one start
of Django instead of three makes the second start of the product seconds quicker. WORKER
is the name of the worker that is starting: what the one before it said of itself no
longer holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import django
from django.core.management import call_command
from django.db import OperationalError

STATIC_KEPT_DAYS = 7


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
    django.setup()
    try:
        call_command("migrate", interactive=False, verbosity=1)
        if not _connections_suffice():
            return 1
    except OperationalError as error:
        sys.stdout.write(f"The database of DATABASE_URL can't be used: {error}\n")
        return 1
    if sys.argv[1:]:
        _forget_worker(sys.argv[1])
    _collect_static()
    call_command("create_first_account")
    return 0


def _forget_worker(name: str) -> None:
    """Else conversations are sent to one that has ended until its row gets stale."""
    from inference.models import Worker

    Worker.objects.forget(name)


def _connections_suffice() -> bool:
    from personaplex_site.checks import check_connections

    found = check_connections(databases=["default"])
    for problem in found:
        sys.stdout.write(f"{problem.msg} {problem.hint}\n")
    return not found


def _collect_static() -> None:
    """Collecting compresses every file: only when one of them has changed. Earlier
    versions stay, under other names: pages of before a restart still ask for them."""
    from django.conf import settings

    stamp = Path(settings.STATIC_ROOT) / ".collected"
    now = _static_fingerprint()
    if stamp.exists() and stamp.read_text() == now:
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    _remove_old_static(Path(settings.STATIC_ROOT))
    stamp.write_text(now)
    sys.stdout.write(f"Static files collected in {settings.STATIC_ROOT}\n")


def _remove_old_static(root: Path) -> None:
    """What no version of the last STATIC_KEPT_DAYS has written."""
    before = time.time() - STATIC_KEPT_DAYS * 86_400
    names = _static_names(root)
    for path in root.rglob("*"):
        old = path.is_file() and path.stat().st_mtime < before
        if old and path.relative_to(root).as_posix().removesuffix(".gz") not in names:
            path.unlink()


def _static_names(root: Path) -> set[str]:
    """Of the files that this version serves."""
    manifest = json.loads((root / "staticfiles.json").read_text())["paths"]
    return {*manifest, *manifest.values(), "staticfiles.json"}


def _static_fingerprint() -> str:
    from django.contrib.staticfiles.finders import get_finders

    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            full = storage.path(path)
            state = os.stat(full)
            digest.update(f"{full}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
