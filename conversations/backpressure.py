"""When the browser does not read what is sent to it: asking Daphne's socket.

Owns the way from an ASGI ``send`` to the protocol beneath it. Under other servers,
whose ``send`` waits by itself, nothing is found and nothing is done.

Daphne's ``send`` never waits and its transport buffers without bound (with a browser
that never read, it grew for as long as was tried). The site's own protocol class says
when more than 64 KiB wait.
"""

from __future__ import annotations

import functools
from typing import Any

from conversations.outbox import Outbox


def report_fullness(send: Any, outbox: Outbox) -> None:
    """Daphne's ``send`` is a partial of the protocol, which Channels' session
    middleware wraps once."""
    real = getattr(getattr(send, "__self__", None), "real_send", send)
    protocol = real.args[0] if isinstance(real, functools.partial) else None
    report = getattr(protocol, "report_fullness", None)
    if report is not None:
        report(outbox)
