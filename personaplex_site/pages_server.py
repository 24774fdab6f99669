"""The page processes: Django by WSGI under gunicorn, on a Unix socket.

    python -m personaplex_site.pages_server

Starts, replaces and ends them. Their parent has loaded Django, so that a new one is
ready within a moment. PAGE_NICE gives live sound priority over them.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.urls import get_resolver
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import ThreadWorker

from inference.supervision import die_with
from personaplex_site import databases
from personaplex_site.exit_if_wrong import read_settings
from personaplex_site.front.answers import phrase
from personaplex_site.front.relay import REFUSED
from personaplex_site.front.socket_file import listen

log = logging.getLogger(__name__)

FINISH_SECONDS = 30  # that a process which is replaced has for what it has begun
LOOK_EVERY = 20  # requests between two looks at its memory
JITTER = 10  # a tenth of PAGE_MAX_REQUESTS: not all at the same time


class PageArbiter(Arbiter):
    """gunicorn removes a socket's file when it ends, which may be its successor's by
    then. Not one that a supervisor gave it, as ours counts."""

    def start(self) -> None:
        super().start()
        self.systemd = True

    def murder_workers(self) -> None:
        """Called about once a second. Where the socket's file is gone or not ours, no
        request reaches us any more: end, and be started again with a new one."""
        super().murder_workers()
        if not self.app.is_reachable():
            log.error("the socket %s has gone; starting again", settings.PAGES_SOCKET)
            self.halt("the socket has gone", 1)


class PageWorker(ThreadWorker):
    """gunicorn's main thread, which accepts requests, waits up to 2 s for the other
    side of each to hang up. Ours may wait for a client that reads slowly."""

    def finish_request(self, conn: Any, fs: Any) -> None:
        conn.close = lambda graceful=False: conn.sock.close()
        super().finish_request(conn, fs)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """gunicorn would send a page of its own, in its own words. The web process
        makes ours, in the form that the client accepts."""
        status = _status_of(exc)
        if status == 500:
            log.error("no page was made", exc_info=exc)
        else:
            log.warning("a request was refused: %d, %s", status, exc)
        head = b"HTTP/1.1 %d %s\r\n" % (status, phrase(status))
        with suppress(OSError):
            client.sendall(head + REFUSED + b": 1\r\nContent-Length: 0\r\n\r\n")


def _status_of(error: Exception) -> int:
    match error:
        case InvalidResponseHeader() | InvalidResponseHeaderName():
            return 500  # of a page
        case LimitRequestLine():
            return 414
        case LimitRequestHeaders():
            return 431
        case ParseException():
            return 400
    return 500


class PageServer(BaseApplication):
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._file = os.stat(settings.PAGES_SOCKET).st_ino
        super().__init__()

    def is_reachable(self) -> bool:
        try:
            return os.stat(settings.PAGES_SOCKET).st_ino == self._file
        except FileNotFoundError:
            return False

    def load_config(self) -> None:
        processes = settings.PAGE_PROCESSES
        threads = -(-databases.all_page_threads() // processes)
        for name, value in {
            "bind": f"fd://{self._listener.detach()}",
            "preload_app": True,
            "workers": processes,
            "worker_class": PageWorker,
            "threads": threads,
            # One that has all its threads at work leaves the next request to others.
            "worker_connections": threads,
            "keepalive": 0,
            "max_requests": settings.PAGE_MAX_REQUESTS,
            "max_requests_jitter": settings.PAGE_MAX_REQUESTS // JITTER,
            "graceful_timeout": FINISH_SECONDS,
            "limit_request_line": 8190,
            "limit_request_fields": 200,
            # The web process tells scheme and address in headers of its own.
            "secure_scheme_headers": {},
            "forwarded_allow_ips": "",
            "control_socket_disable": True,
            "loglevel": "warning",
            "when_ready": _freeze,
            "post_fork": _after_fork,
            "post_request": _look_at_memory,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from personaplex_site.wsgi import application

        # Every view: a process that is started later must not read files that an
        # update has changed meanwhile beside those that were loaded before.
        _ = get_resolver().reverse_dict
        return application

    def run(self) -> None:
        PageArbiter(self).run()


def _freeze(arbiter: Any) -> None:
    """What was loaded is shared by all: no collector shall touch it."""
    import gc

    gc.collect()
    gc.freeze()


def _after_fork(arbiter: Any, worker: Any) -> None:
    die_with(arbiter.pid, signal.SIGKILL)()


def _look_at_memory(worker: Any, request: Any, environ: Any, response: Any) -> None:
    if worker.nr % LOOK_EVERY or not worker.alive:
        return
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    grown = pages * os.sysconf("SC_PAGE_SIZE") // 2**20
    if grown > settings.PAGE_MAX_MB:
        log.warning("a page process has grown to %d MB and is replaced", grown)
        worker.alive = False


def main() -> int:
    read_settings()
    if not settings.PAGES_SOCKET:
        sys.stderr.write("PAGES_SOCKET is not set: it says where to listen.\n")
        return 2
    os.nice(settings.PAGE_NICE)
    listener = listen(settings.PAGES_SOCKET)
    databases.use_pool(settings.DB_POOL_PAGES)
    django.setup()
    PageServer(listener).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
