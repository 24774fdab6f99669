"""PostgreSQL from a wheel: made once, run in the foreground as our child.

The wheel's own start-and-stop layer is not used: as root it opens every parent folder
to all users, and it takes any live process for a running server.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from personaplex_site.up.binaries import postgres_bin
from personaplex_site.up.children import Command
from personaplex_site.up.errors import CannotStart
from personaplex_site.up.folder import DataFolder

ROLE = DATABASE = "personaplex"
READY_SECONDS = 60.0  # crash recovery took 3 s here once, initdb 4 s
_ORPHAN_SECONDS = 15.0


class EmbeddedPostgres:
    def __init__(self, folder: DataFolder, password: str, port: int) -> None:
        self.folder, self.password, self.port = folder, password, port
        self.cluster = folder.postgres / "cluster"
        self.bin = postgres_bin(folder)

    @property
    def url(self) -> str:
        password = quote(self.password, safe="")
        return f"postgres://{ROLE}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def initialise(self) -> None:
        """Make the cluster; whole or not at all."""
        self.folder.server_folder(self.folder.postgres)
        if self.cluster.exists():
            self._check_version()
            return
        new = self.folder.postgres / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        secret = self.folder.postgres / "password"
        secret.write_text(self.password)
        secret.chmod(0o600)
        if self.folder.account:
            self.folder.account.own(secret)
        try:
            self._initdb(new, secret)
        finally:
            secret.unlink()
        new.rename(self.cluster)

    def command(self, *options: str) -> Command:
        argv = [str(self.bin / "postgres"), "-D", str(self.cluster)]
        argv += ["-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        for option in ("log_line_prefix=", *options):
            argv += ["-c", option]
        return Command(
            "postgres",
            argv,
            {"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            self.folder.postgres,
            account=self.folder.account,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes, leaves
            death_signal=signal.SIGINT,
            before=self.clear_leftovers,
        )

    def answers(self) -> bool:
        """Whether it takes connections; makes our database at the first one."""
        server = self.url.rsplit("/", 1)[0] + "/postgres"
        try:
            with psycopg.connect(server, autocommit=True, connect_timeout=2) as db:
                known = db.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
                )
                if not known.fetchone():
                    db.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise CannotStart(
                    f"The database in {self.cluster} has another password than "
                    f"secrets.env in {self.folder.path}. Put back the secrets.env "
                    "that belongs to it."
                ) from error
            return False
        return True

    def clear_leftovers(self) -> None:
        """End servers of this cluster that outlived their supervisor.

        We hold the data folder's lock, so what still works on the cluster is an
        orphan. A pid file without such a process is stale, even if its number now
        belongs to another program: PostgreSQL would take that for a running server.
        """
        orphans = self._servers()
        _signal(orphans, signal.SIGINT)
        until = time.monotonic() + _ORPHAN_SECONDS
        while (orphans := self._servers()) and time.monotonic() < until:
            time.sleep(0.1)
        _signal(orphans, signal.SIGKILL)
        while self._servers() and time.monotonic() < until + 5:
            time.sleep(0.1)
        if left := self._servers():
            raise CannotStart(
                f"A PostgreSQL (process {left[0].pid}) still uses {self.cluster} and "
                "can't be ended. End it, then start again."
            )
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _servers(self) -> list[psutil.Process]:
        """Processes whose program is postgres and whose folder is our cluster."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.name() == "postgres" and Path(process.cwd()) == self.cluster:
                    found.append(process)
            except (psutil.Error, OSError):
                continue  # gone, a zombie, or another user's
        return found

    def _initdb(self, cluster: Path, secret: Path) -> None:
        account = self.folder.account
        made = subprocess.run(
            [
                str(self.bin / "initdb"),
                f"--pgdata={cluster}",
                f"--username={ROLE}",
                "--auth=scram-sha-256",
                f"--pwfile={secret}",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ],
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            cwd=self.folder.postgres,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            output = (made.stdout + made.stderr).strip()
            raise CannotStart(f"PostgreSQL's data folder can't be made:\n{output}")

    def _check_version(self) -> None:
        holds = (self.cluster / "PG_VERSION").read_text().strip()
        program = subprocess.run(
            [str(self.bin / "postgres"), "--version"], capture_output=True, text=True
        ).stdout
        found = re.search(r"\d+", program)
        if found and found[0] != holds:
            raise CannotStart(
                f"The data in {self.cluster} is PostgreSQL {holds}'s, and this version "
                f"brings PostgreSQL {found[0]}. docs/operations.md says how to move it."
            )


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue
