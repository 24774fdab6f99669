"""The site in a process whose Python would never exit: one thread waits for ever."""

import threading

from personaplex_site.asgi import application

__all__ = ["application"]

threading.Thread(target=threading.Event().wait).start()
