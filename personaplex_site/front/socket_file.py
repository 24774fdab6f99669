"""The Unix socket between the web process and the page processes.

Listening replaces the file that a dead process left. It is never removed, so that a
process that ends late can't take away the socket of its successor.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

LONGEST = 100  # bytes of an address; the kernel takes 107
BACKLOG = 512


def reachable(path: str) -> str:
    """The same file by a name that is short enough for an address: the folder is kept
    open, for as long as this process lives."""
    if len(path.encode()) <= LONGEST:
        return path
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    return f"/proc/self/fd/{folder}/{os.path.basename(path)}"


def listen(path: str) -> socket.socket:
    """Readable by our own account only. It takes the place of an older one at once, so
    that there is no moment without a socket."""
    new = Path(f"{path}.{os.getpid()}")
    new.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(reachable(str(new)))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    new.replace(path)
    return listener
