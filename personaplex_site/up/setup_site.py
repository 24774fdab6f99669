"""Brings the site's database and files up to this version, in one Django process.

Run by the supervisor as ``python -m personaplex_site.up.setup_site``: one start of
Django instead of three makes the second start of the product seconds quicker.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from pathlib import Path

import django
from django.core.management import call_command
from django.db import OperationalError

_log = logging.getLogger("personaplex_site.up")


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
    _collect_static()
    call_command("create_first_account")
    return 0


def _connections_suffice() -> bool:
    from personaplex_site.checks import check_connections

    found = check_connections(databases=["default"])
    for problem in found:
        sys.stdout.write(f"{problem.msg} {problem.hint}\n")
    return not found


def _collect_static() -> None:
    """Collecting compresses every file: only when one of them has changed."""
    from django.conf import settings

    stamp = Path(settings.STATIC_ROOT) / ".collected"
    now = _static_fingerprint()
    if stamp.exists() and stamp.read_text() == now:
        return
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
    stamp.write_text(now)
    sys.stdout.write(f"Static files collected in {settings.STATIC_ROOT}\n")


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
