"""The data folder: where everything that must outlive a restart lies.

Here are its layout, the lock that keeps a second supervisor out, the generated secrets,
and the account that the embedded servers run as when we are root.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from personaplex_site.up.errors import CannotStart, WrongSetting

SERVER_ACCOUNT = "nobody"
SECRET_NAMES = ("SECRET_KEY", "WORKER_SECRET", "POSTGRES_PASSWORD", "VALKEY_PASSWORD")


@dataclass(frozen=True)
class Account:
    """Whom PostgreSQL and Valkey run as: PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Whether this account can enter a folder, asked of the kernel."""
        asked = subprocess.run(
            ["test", "-x", str(path)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
        )
        return asked.returncode == 0

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


def server_account() -> Account | None:
    """None for an ordinary user, who runs the servers as themselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(SERVER_ACCOUNT)
    return Account(entry.pw_uid, entry.pw_gid)


class DataFolder:
    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self.postgres = self.path / "postgres"
        self.valkey = self.path / "valkey"
        self.servers = self.path / "servers"
        self.account = server_account()
        self._lock: int | None = None

    def open(self) -> None:
        """Make the folder, or check that it can be used, and take its lock."""
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                # Root's servers run as another account and must pass through.
                self.path.chmod(0o711 if self.account else 0o700)
            for folder in (self.logs, self.run):
                folder.mkdir(exist_ok=True, mode=0o700)
            self._take_lock()
        except OSError as error:
            raise WrongSetting(
                f"The data folder {self.path} can't be used: {error.strerror}. "
                "Choose another with --data."
            ) from error

    def check_servers_reach(self) -> None:
        """Refuse a folder that the database's account can't enter.

        We never open up folders that are the user's own.
        """
        if self.account and not self.account.reaches(self.path):
            raise CannotStart(
                f"PostgreSQL does not run as root, and the account {SERVER_ACCOUNT!r} "
                f"that it runs as can't enter {self.path}. Choose another folder, for "
                "example --data /var/lib/personaplex, or start as an ordinary user."
            )

    def server_folder(self, path: Path) -> Path:
        """A private folder of an embedded server, owned by its account."""
        path.mkdir(exist_ok=True, mode=0o700)
        if self.account:
            self.account.own(path)
        return path

    def write_note(self, text: str) -> None:
        """What a second supervisor tells about the first."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, text.encode(), 0)

    def close(self) -> None:
        if self._lock is not None:
            self.write_note("")
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        descriptor = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise CannotStart(
                f"The data folder {self.path} is in use: {note or 'just starting'}. "
                "Stop that one first, or choose another folder with --data."
            ) from None
        self._lock = descriptor

    def secrets(self) -> dict[str, str]:
        """Generated at the first start, the same ever after."""
        path = self.path / "secrets.env"
        known: dict[str, str] = {}
        try:
            if path.exists():
                lines = path.read_text().splitlines()
                known = dict(line.split("=", 1) for line in lines if "=" in line)
            missing = [name for name in SECRET_NAMES if not known.get(name)]
            if missing:
                known |= {name: secrets.token_urlsafe(40) for name in missing}
                write_private(path, "".join(f"{k}={v}\n" for k, v in known.items()))
        except (OSError, ValueError) as error:  # ValueError: not text
            raise WrongSetting(
                f"{path} can't be read or written: {error}. It belongs to the data "
                "beside it: put it back, or make it readable."
            ) from error
        return known

    def write_environment(self, environment: dict[str, str]) -> Path:
        """For an operator's own commands: ``. DATA/run/environment``."""
        path = self.run / "environment"
        lines = (f"export {k}={shlex.quote(v)}\n" for k, v in environment.items())
        write_private(path, "".join(lines))
        return path


def write_private(path: Path, text: str) -> None:
    """Write whole or not at all, readable by us only."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
