"""The site in a process whose Python would never exit: one thread waits for ever. And
that waits less long than the product's for a browser that takes nothing."""

import threading

from conversations.live import outbox
from personaplex_site.asgi import application

__all__ = ["application"]

outbox.STALLED_SECONDS = 2.0
threading.Thread(target=threading.Event().wait).start()
