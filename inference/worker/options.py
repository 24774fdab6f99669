"""An operator's options for a worker, except those of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WorkerOptions:
    secret: str
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    name: str = ""  # the machine's name:port
    public_url: str = ""  # ws://HOST:PORT, or 127.0.0.1 when HOST is any
    site: str = ""  # http://host:port, "" for no heartbeat
    heartbeat_seconds: float = 5.0
    voice_cache_mb: int = 256
    resume_seconds: float = 30.0  # how long a session without a socket may be kept
    drain_seconds: float = 20.0  # from SIGTERM until what still runs is ended
    model: Path | None = None  # the directory whose voices are offered
    force: bool = False  # serve even if the model does not keep real time
