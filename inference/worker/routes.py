"""What the worker's port answers before any WebSocket message.

Owns paths, the check of the shared secret and the bound on open sockets.
"""

from __future__ import annotations

import hmac
import json
from http import HTTPStatus
from typing import Protocol

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from inference.worker.admission import Admission
from inference.worker.options import WorkerOptions

MAX_SOCKETS = 256


class Worker(Protocol):
    options: WorkerOptions
    admission: Admission

    def report(self) -> dict[str, object]: ...
    def sockets(self) -> int: ...


class Routes:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """None lets the WebSocket handshake go on."""
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if path == "/readyz":
            return self._readiness(connection)
        if not self._knows_secret(request):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "wrong secret\n")
        if path == "/stats":
            response = connection.respond(
                HTTPStatus.OK, json.dumps(self._worker.report())
            )
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        if path not in ("/session", "/voices"):
            return connection.respond(HTTPStatus.NOT_FOUND, "no such path\n")
        if self._worker.sockets() >= MAX_SOCKETS:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many\n")
        return None

    def _readiness(self, connection: ServerConnection) -> Response:
        admission = self._worker.admission
        if admission.ready:
            return connection.respond(HTTPStatus.OK, "ready\n")
        why = "stopping" if admission.stopping else admission.why_not
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, why + "\n")

    def _knows_secret(self, request: Request) -> bool:
        given = request.headers.get_all("Authorization")
        wanted = f"Bearer {self._worker.options.secret}".encode()
        return len(given) == 1 and hmac.compare_digest(
            given[0].encode(errors="surrogateescape"), wanted
        )
