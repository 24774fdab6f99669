"""The standard library's servers, in a thread of the tests."""

import threading
from socketserver import BaseServer


def serve_in_thread(server: BaseServer) -> threading.Thread:
    """Until its ``shutdown()``, which by default waits for half a second."""
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    return thread
