"""When the browser does not read what is sent to it: asking Daphne's transport.

Owns the way from an ASGI ``send`` to the transport beneath it. Under other servers,
whose ``send`` waits by itself, nothing is found and nothing is done.

Daphne's ``send`` never waits and its transport buffers without bound (with a browser
that never read, it grew for as long as was tried). Twisted tells a registered
producer when more than 64 KiB wait; Daphne registers none, so the outbox is.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from conversations.outbox import Outbox


class _Producer:
    """Twisted's IPushProducer, as the outbox of one conversation."""

    def __init__(self, outbox: Outbox) -> None:
        self.pauseProducing = outbox.pause
        self.resumeProducing = outbox.resume

    def stopProducing(self) -> None:
        """The connection is gone; the consumer hears of it by itself."""


def report_fullness(send: Any, outbox: Outbox) -> None:
    transport = _transport(send)
    if transport is None:
        return
    from twisted.internet.interfaces import IPushProducer
    from zope.interface import classImplements

    if not IPushProducer.implementedBy(_Producer):
        classImplements(_Producer, IPushProducer)
    # What stands there belonged to the HTTP request that was upgraded.
    transport.unregisterProducer()
    transport.registerProducer(_Producer(outbox), True)


def _transport(send: Any) -> Any:
    """Twisted's transport: Daphne's ``send`` is a partial of the protocol, which
    Channels' session middleware wraps once."""
    if "daphne.server" not in sys.modules:
        return None
    real = getattr(getattr(send, "__self__", None), "real_send", send)
    protocol = real.args[0] if isinstance(real, functools.partial) else None
    return getattr(protocol, "transport", None)
