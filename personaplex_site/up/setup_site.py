"""Brings the site's database and files up to this version, in one Django process.

Run by the supervisor as ``python -m personaplex_site.up.setup_site WORKER``: one start
of Django instead of three makes the second start of the product seconds quicker. WORKER
is the name of the worker that is starting: what the one before it said of itself no
longer holds.
"""

from __future__ import annotations

import os
import sys

import django
from django.core.management import call_command
from django.db import OperationalError

from personaplex_site.up import static_files


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
    static_files.collect()
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


if __name__ == "__main__":
    raise SystemExit(main())
