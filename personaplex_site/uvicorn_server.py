"""The site under uvicorn, for those who prefer it to Daphne.

    python -m personaplex_site.uvicorn_server --host 127.0.0.1 --port 8000

What Daphne had to be taught uvicorn does by itself: its ``send`` waits for a browser
that does not read, and bodies are streamed, so that ``BodyLimit`` bounds them. What is
ours: on a signal conversations are released before sockets are closed; who does not
finish the head of a request is let go of; a request that can't be read is answered in
words; and the bounds of a socket, in
:mod:`personaplex_site.uvicorn_socket`.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from contextlib import suppress
from types import FrameType

import uvicorn
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from personaplex_site.exit_if_wrong import read_settings, run_checks
from personaplex_site.front.answers import Refusal

read_settings()

# isort: off
from personaplex_site.asgi import application  # noqa: E402 - it sets Django up
from conversations.live import shutdown  # noqa: E402
from personaplex_site import databases  # noqa: E402
from personaplex_site.socket_limits import MAX_FRAME  # noqa: E402
from personaplex_site.uvicorn_socket import Socket  # noqa: E402
# isort: on

PING_SECONDS, PONG_SECONDS = 20, 30  # as Daphne's
CLOSE_SECONDS = 10
MAX_HEAD = 65_536  # bytes of a request's first line and headers; Daphne takes 16 kB


class Requests(HttpToolsProtocol):
    """uvicorn waits without end for the rest of a request's head, of any size."""

    _limit: asyncio.TimerHandle | None = None
    _head_size = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._limit is not None and not self.transport.is_closing():
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse_head(431)

    def send_400_response(self, msg: str) -> None:
        self._refuse_head(400)

    def _refuse_head(self, status: int) -> None:
        self.transport.write(Refusal.head(status).whole())
        self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._forget_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._forget_head()
        self._head_size = 0
        seconds = settings.HEAD_SECONDS
        self._limit = self.loop.call_later(seconds, self.transport.abort)

    def _forget_head(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


class SiteServer(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        shutdown.note_signal(sig)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await shutdown.release_all()
        await super().shutdown(sockets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="of a listening socket, instead")
    given = parser.parse_args()
    run_checks()
    databases.use_pool(databases.of_web_process())
    config = uvicorn.Config(
        application,
        host=given.host,
        port=given.port,
        http=Requests,
        proxy_headers=False,  # else it believes any local proxy: TRUSTED_PROXIES says
        ws=Socket,
        ws_max_size=MAX_FRAME,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PONG_SECONDS,
        ws_per_message_deflate=False,  # Opus does not get smaller
        lifespan="off",
        access_log=False,
        server_header=False,
        log_config=None,  # Django's, set by the application
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    # uvicorn's own --fd takes every socket for one of the file system.
    sockets = [socket.socket(fileno=given.fd)] if given.fd is not None else None
    with suppress(KeyboardInterrupt):
        SiteServer(config).run(sockets)


if __name__ == "__main__":
    main()
