"""The site below a path of another one: URL_PREFIX.

Django writes the prefix into every address (FORCE_SCRIPT_NAME). On the way in it is
taken off here, before anything looks at a path; so the front door, the page processes
and the routes of sockets know nothing of it. A proxy may pass addresses with or without
the prefix, and those who ask from inside, such as workers, need not know it.

What a request says itself of a prefix, as in X-Forwarded-Prefix, is not believed.
"""

from __future__ import annotations

from typing import Any


class UnderPrefix:
    """``prefix``: as in the setting, "" for none."""

    def __init__(self, application: Any, prefix: str) -> None:
        self._application, self._prefix = application, prefix
        self._raw = prefix.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self._prefix and scope["path"] == self._prefix:
            await _redirect(f"{self._prefix}/", scope, send)
            return
        if scope["type"] in ("http", "websocket"):
            scope = self._without_prefix(scope)
        await self._application(scope, receive, send)

    def _without_prefix(self, scope: Any) -> Any:
        """Daphne lets clients set ``root_path`` by a header of theirs."""
        scope = {**scope, "root_path": ""}
        path, raw = scope["path"], scope.get("raw_path") or b""
        if not self._prefix or not path.startswith(self._prefix + "/"):
            return scope
        if raw and not raw.startswith(self._raw + b"/"):
            return scope  # with escapes in the prefix, which no page of ours has
        taken = {"path": path[len(self._prefix) :], "raw_path": raw[len(self._raw) :]}
        return {**scope, **taken}


async def _redirect(path: str, scope: Any, send: Any) -> None:
    query = scope.get("query_string", b"")
    location = path.encode() + (b"?" + query if query else b"")
    headers = [(b"location", location), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 301, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
