"""The protocol object of Daphne that serves a request or socket, found by its scope.

Daphne's ``send`` never waits and its transport buffers without bound, so what sends
much asks the transport itself whether the client reads. ASGI names the place where a
server may give more than the standard says: ``scope["extensions"]``. Any wrapper of
``send`` would hide the protocol from code that looked for it there.

Imports Daphne only to extend it: uvicorn runs without.
"""

from __future__ import annotations

from typing import Any

NAME = "personaplex.daphne"


def protocol_of(scope: Any) -> Any:
    """Daphne's ``WebRequest`` or ``WebSocketProtocol``; None under other servers."""
    return scope.get("extensions", {}).get(NAME)


def name_protocols() -> None:
    """Have Daphne put the protocol into each scope that it makes."""
    from daphne.server import Server

    create = Server.create_application

    def create_application(server: Any, protocol: Any, scope: dict[str, Any]) -> Any:
        scope.setdefault("extensions", {})[NAME] = protocol
        return create(server, protocol, scope)

    Server.create_application = create_application
