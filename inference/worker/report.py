"""What a worker says of itself: to the site every few seconds, and to operators."""

from __future__ import annotations

import dataclasses
import time
from typing import Protocol

from inference.engine.api import EngineInfo, ModelThread
from inference.version import VERSION
from inference.worker.admission import Admission
from inference.worker.beat import MAX_TEXT, TEXT_LIMITS, Hardware, Heartbeat
from inference.worker.session_registry import Sessions
from inference.worker.voices import VoiceCache


class Worker(Protocol):
    @property
    def thread(self) -> ModelThread: ...
    @property
    def name(self) -> str: ...
    @property
    def public_url(self) -> str: ...

    info: EngineInfo | None
    admission: Admission
    sessions: Sessions
    voices: VoiceCache
    slow_readers: int
    started_at: float


def heartbeat_of(worker: Worker, hardware: Hardware | None) -> Heartbeat:
    info, stats = worker.info, worker.thread.stats()
    return Heartbeat(
        name=worker.name,
        url=worker.public_url,
        version=VERSION,
        ready=worker.admission.ready,
        started_at=worker.started_at,
        slots=info.slots if info else 0,
        sessions=stats.sessions,
        model=info.model if info else "",
        fingerprint=info.fingerprint if info else "",
        trained=info.trained if info else False,
        device=device_in_words(info)[:MAX_TEXT] if info else "",
        context_frames=info.context_frames if info else 0,
        frames=stats.frames,
        late_frames=stats.late_frames,
        dropped_frames=stats.dropped_frames,
        tick_p50_ms=round(stats.tick_p50_ms, 3),
        tick_p99_ms=round(stats.tick_p99_ms, 3),
        parked=worker.sessions.parked,
        draining=worker.admission.draining,
        why_not=_why_not(worker),
        stopping=worker.admission.stopping,
        hardware=hardware,
    )


def device_in_words(info: EngineInfo) -> str:
    """With the engine, where it is not the one that a GPU should have."""
    if not info.why_not_fast:
        return info.device
    return f"{info.device}, plain engine, as the fast one can't start: " + (
        info.why_not_fast
    )


def _why_not(worker: Worker) -> str:
    """What keeps a loaded model from being served: it is too slow here."""
    admission = worker.admission
    held_back = worker.info is not None and admission.info is None
    return admission.why_not[: TEXT_LIMITS["why_not"]] if held_back else ""


def statistics_of(worker: Worker) -> dict[str, object]:
    """Of GET /stats."""
    stats = worker.thread.stats()
    return {
        **dataclasses.asdict(heartbeat_of(worker, None)),
        "device": worker.info.device if worker.info else "",
        "engine": worker.info.engine if worker.info else "",
        "why_not_fast": worker.info.why_not_fast if worker.info else "",
        "ticks": stats.ticks,
        "prompt_cache": dataclasses.asdict(stats.prompt_cache),
        "memory": dataclasses.asdict(stats.memory),
        "headroom_ms": round(stats.headroom_ms, 1),
        "refused": worker.admission.refused,
        "slow_readers": worker.slow_readers,
        "resumed": worker.sessions.resumed,
        "taken_over": worker.sessions.taken_over,
        "expired": worker.sessions.expired_count,
        "voices": {"count": len(worker.voices), "bytes": worker.voices.bytes},
        "uptime_s": round(time.time() - worker.started_at, 1),
    }
