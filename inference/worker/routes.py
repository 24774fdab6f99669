"""What the worker's port answers before any WebSocket message: HTTP paths, the check
of the shared secret, and the limit of open sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from inference.errors import VoicePromptError
from inference.loading.safetensors_file import CheckpointError
from inference.worker.bearer import shows_secret
from inference.worker.presets import Presets
from inference.worker.protocol import FINGERPRINT_HEADER
from inference.worker.status import WorkerStatus

MAX_SOCKETS = 256


class Routes:
    def __init__(
        self, status: WorkerStatus, presets: Presets, open_sockets: Callable[[], int]
    ) -> None:
        self._status = status
        self._presets = presets
        self._open_sockets = open_sockets

    async def answer(
        self, connection: ServerConnection, request: Request
    ) -> Response | None:
        """None continues the WebSocket handshake."""
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if path == "/readyz":
            return self._readiness(connection)
        if not self._knows_secret(request):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "wrong secret\n")
        if path == "/stats":
            return _json(connection, self._status.statistics())
        if path == "/presets":
            listing = await asyncio.to_thread(self._presets.listing)
            return self._of_this_model(_json(connection, listing))
        if path == "/tokenizer":
            return self._of_this_model(await self._tokenizer(connection))
        if path.startswith("/presets/"):
            name = path.removeprefix("/presets/")
            return self._of_this_model(self._preset(connection, name))
        if path not in ("/session", "/voices"):
            return connection.respond(HTTPStatus.NOT_FOUND, "no such path\n")
        if self._open_sockets() >= MAX_SOCKETS:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many\n")
        return None

    def _preset(self, connection: ServerConnection, name: str) -> Response:
        try:
            content = self._presets.content(name)
        except VoicePromptError as error:
            return connection.respond(HTTPStatus.NOT_FOUND, f"{error}\n")
        return _as(connection, content, "application/octet-stream")

    async def _tokenizer(self, connection: ServerConnection) -> Response:
        try:
            content = await asyncio.to_thread(self._presets.tokenizer)
        except CheckpointError as error:
            return connection.respond(HTTPStatus.NOT_FOUND, f"{error}\n")
        return _as(connection, content, "application/octet-stream")

    def _of_this_model(self, response: Response) -> Response:
        """At one address one model may follow another."""
        response.headers[FINGERPRINT_HEADER] = self._status.fingerprint
        return response

    def _readiness(self, connection: ServerConnection) -> Response:
        admission = self._status.admission
        if admission.ready:
            return connection.respond(HTTPStatus.OK, "ready\n")
        why = admission.problem or admission.why_not
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, why + "\n")

    def _knows_secret(self, request: Request) -> bool:
        given = request.headers.get_all("Authorization")
        secret = self._status.options.secret
        return len(given) == 1 and shows_secret(given[0], secret)


def _json(connection: ServerConnection, value: object) -> Response:
    return _as(connection, json.dumps(value).encode(), "application/json")


def _as(connection: ServerConnection, body: bytes, kind: str) -> Response:
    response = connection.respond(HTTPStatus.OK, "")
    for name, header in (("Content-Type", kind), ("Content-Length", str(len(body)))):
        del response.headers[name]
        response.headers[name] = header
    response.body = body
    return response
