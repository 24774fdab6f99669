"""When the browser does not read what is sent to it: asking Daphne's socket.

Under other servers, whose ``send`` waits by itself, nothing is asked.

Daphne's ``send`` never waits and its transport buffers without bound (with a browser
that never read, it grew for as long as was tried). The site's own protocol class says
when more than 64 KiB wait.
"""

from __future__ import annotations

from typing import Any

from conversations.outbox import Outbox
from personaplex_site.daphne_scope import protocol_of


def report_fullness(scope: Any, outbox: Outbox) -> None:
    """Have the socket of ``scope`` pause and resume the outbox."""
    protocol = protocol_of(scope)
    if protocol is not None:
        protocol.report_fullness(outbox)
