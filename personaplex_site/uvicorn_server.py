"""The site under uvicorn, for those who prefer it to Daphne.

    python -m personaplex_site.uvicorn_server --host 127.0.0.1 --port 8000

What Daphne had to be taught uvicorn does by itself: its ``send`` waits for a browser
that does not read, and bodies are streamed, so that ``BodyLimit`` bounds them. What is
ours: on a signal conversations are released before sockets are closed; and the bounds
of a socket, in :mod:`personaplex_site.uvicorn_socket`.
"""

from __future__ import annotations

import argparse
import socket
from contextlib import suppress
from types import FrameType

import uvicorn

from personaplex_site.asgi import application  # before the rest: it sets Django up

from conversations import shutdown  # isort: skip
from personaplex_site.socket_limits import MAX_FRAME  # isort: skip
from personaplex_site.uvicorn_socket import Socket  # isort: skip

PING_SECONDS, PONG_SECONDS = 20, 30  # as Daphne's
CLOSE_SECONDS = 10


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
    config = uvicorn.Config(
        application,
        host=given.host,
        port=given.port,
        ws=Socket,
        ws_max_size=MAX_FRAME,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PONG_SECONDS,
        ws_per_message_deflate=False,  # Opus does not get smaller
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # else it believes any local proxy: TRUSTED_PROXIES says
        log_config=None,  # Django's, set by the application
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    # uvicorn's own --fd takes every socket for one of the file system.
    sockets = [socket.socket(fileno=given.fd)] if given.fd is not None else None
    with suppress(KeyboardInterrupt):
        SiteServer(config).run(sockets)


if __name__ == "__main__":
    main()
