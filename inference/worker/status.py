"""What the worker says about itself: in its heartbeat and to operators."""

from __future__ import annotations

import dataclasses
import socket
import time
from dataclasses import dataclass, field

from inference.engine.api import EngineInfo, ModelThread
from inference.version import VERSION
from inference.worker.admission import Admission
from inference.worker.heartbeat import MAX_TEXT, MAX_WHY_NOT, Hardware, Heartbeat
from inference.worker.options import WorkerOptions
from inference.worker.session_registry import SessionRegistry
from inference.worker.voices import VoiceCache

ANY_HOST = ("", "0.0.0.0", "::")


@dataclass
class WorkerStatus:
    options: WorkerOptions
    thread: ModelThread
    admission: Admission
    sessions: SessionRegistry
    voices: VoiceCache
    port: int  # the one that was bound, once the worker listens
    info: EngineInfo | None = None  # once the model is loaded
    slow_readers: int = 0
    started_at: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        return self.options.name or f"{socket.gethostname()}:{self.port}"

    @property
    def public_url(self) -> str:
        if self.options.public_url:
            return self.options.public_url
        host = self.options.host
        return f"ws://{'127.0.0.1' if host in ANY_HOST else host}:{self.port}"

    @property
    def fingerprint(self) -> str:
        """Of the model that is loaded; "" while none is."""
        return self.info.fingerprint if self.info else ""

    @property
    def device(self) -> str:
        return self.info.device if self.info else ""

    def heartbeat(self, hardware: Hardware | None = None) -> Heartbeat:
        info, stats = self.info, self.thread.stats()
        return Heartbeat(
            name=self.name,
            url=self.public_url,
            version=VERSION,
            ready=self.admission.ready,
            started_at=self.started_at,
            slots=info.slots if info else 0,
            sessions=stats.sessions,
            model=info.model if info else "",
            fingerprint=self.fingerprint,
            trained=info.trained if info else False,
            device=device_in_words(info)[:MAX_TEXT] if info else "",
            context_frames=info.context_frames if info else 0,
            frames=stats.frames,
            late_frames=stats.late_frames,
            dropped_frames=stats.dropped_frames,
            tick_p50_ms=round(stats.tick_p50_ms, 3),
            tick_p99_ms=round(stats.tick_p99_ms, 3),
            parked=self.sessions.parked,
            draining=self.admission.draining,
            why_not=self._why_not(),
            stopping=self.admission.stopping,
            hardware=hardware,
        )

    def statistics(self) -> dict[str, object]:
        """The answer of GET /stats."""
        stats = self.thread.stats()
        return {
            **dataclasses.asdict(self.heartbeat()),
            "device": self.device,
            "engine": self.info.engine if self.info else "",
            "why_not_fast": self.info.why_not_fast if self.info else "",
            "ticks": stats.ticks,
            "prompt_cache": dataclasses.asdict(stats.prompt_cache),
            "memory": dataclasses.asdict(stats.memory),
            "headroom_ms": round(stats.headroom_ms, 1),
            "refused": self.admission.refused,
            "slow_readers": self.slow_readers,
            "resumed": self.sessions.resumed,
            "taken_over": self.sessions.taken_over,
            "expired": self.sessions.expired,
            "voices": {"count": len(self.voices), "bytes": self.voices.bytes},
            "uptime_s": round(time.time() - self.started_at, 1),
        }

    def _why_not(self) -> str:
        """Why a model that is loaded isn't served: it is too slow on this machine."""
        loaded = self.info is not None
        if loaded and self.admission.info is None:
            return self.admission.why_not[:MAX_WHY_NOT]
        return ""


def device_in_words(info: EngineInfo) -> str:
    """With the engine, where it is not the one that a GPU should have."""
    if not info.why_not_fast:
        return info.device
    return f"{info.device}, plain engine, as the fast one can't start: " + (
        info.why_not_fast
    )
