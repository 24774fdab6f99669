"""The first account of a new installation."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection, transaction

LOCK = 0x70706C78  # of the advisory lock; any constant of ours


class Command(BaseCommand):
    help = (
        "Makes an administrator with a random password if there is no account at all, "
        "and writes both to a file that only its owner may read. Silent otherwise."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default="admin")
        parser.add_argument(
            "--password-file",
            type=Path,
            default=settings.DATA_DIR / "first-account.txt",
            help="where user name and password are written (default: %(default)s)",
        )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        with connection.cursor() as cursor:  # two at once make one account
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        users = get_user_model()
        if users.objects.exists():
            return
        username, password = options["username"], secrets.token_urlsafe(12)
        users.objects.create_superuser(username, password=password)
        path: Path = options["password_file"]
        write_privately(path, f"user name: {username}\npassword: {password}\n")
        self.stdout.write(f"First account made. How to sign in: {path}")


def write_privately(path: Path, text: str) -> None:
    """A file of mode 0600 from its first byte on; an old one is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "w") as file:
        file.write(text)
