"""The heartbeat, a worker's message about itself to the site, and its check.

Used by both ends. :mod:`inference.worker.heartbeat_sender` sends it,
:mod:`inference.views` receives it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from inference.checked_json import STRICT, Count, Decoder, StorableText
from inference.errors import ProtocolError

MAX_HEARTBEAT = 8 * 1024  # bytes
HEARTBEAT_VERSION = 1
LATEST = 2**32  # seconds since 1970
MAX_TEXT = 120
MAX_WHY_NOT = 300
WS_URL = re.compile(r"wss?://[A-Za-z0-9._\-\[\]:]+(/[A-Za-z0-9._\-/]*)?")

Text = Annotated[StorableText, Field(max_length=MAX_TEXT)]
Few = Annotated[int, Field(ge=0, le=10_000)]
Measured = Annotated[float, Field(ge=0, le=1e12)]


@dataclass(frozen=True)
class Hardware:
    """One sample; the accelerator's figures are None without one."""

    cpu_percent: Measured
    ram_used_mb: Measured  # of the machine
    ram_total_mb: Measured
    process_ram_mb: Measured
    accelerator: Text = ""
    memory_used_mb: Measured | None = None
    memory_total_mb: Measured | None = None
    utilisation_percent: Measured | None = None
    temperature_c: Measured | None = None
    power_w: Measured | None = None


@dataclass(frozen=True)
class Heartbeat:
    __pydantic_config__ = STRICT

    name: Text
    url: Annotated[StorableText, Field(max_length=200)]  # ws://host:port
    version: Annotated[StorableText, Field(max_length=40)]
    ready: bool
    started_at: Measured  # seconds since 1970
    slots: Few
    sessions: Few
    model: Text  # "" while it loads
    fingerprint: Annotated[StorableText, Field(max_length=64)]
    trained: bool
    device: Text
    context_frames: Count
    frames: Count
    late_frames: Count
    dropped_frames: Count
    tick_p50_ms: Measured
    tick_p99_ms: Measured
    parked: Few = 0  # of ``sessions``, those that wait for their socket to come back
    draining: bool = False  # ends soon; its sessions should be moved
    # Why it is not ready although the model is loaded.
    why_not: Annotated[StorableText, Field(max_length=MAX_WHY_NOT)] = ""
    stopping: bool = False  # its last heartbeat
    hardware: Hardware | None = None
    beat: Few = HEARTBEAT_VERSION


_DECODER: Decoder[Heartbeat] = Decoder(Heartbeat)


def dump_heartbeat(beat: Heartbeat) -> bytes:
    return json.dumps(dataclasses.asdict(beat)).encode()


def parse_heartbeat(data: bytes) -> Heartbeat:
    """The heartbeat in ``data``; ProtocolError says which field is wrong."""
    if len(data) > MAX_HEARTBEAT:
        raise ProtocolError(
            f"a heartbeat of {len(data)} bytes, at most {MAX_HEARTBEAT}"
        )
    beat = _DECODER.decode(data)
    if beat.beat != HEARTBEAT_VERSION:
        raise ProtocolError(f"heartbeat version {beat.beat}, not {HEARTBEAT_VERSION}")
    if not beat.name:
        raise ProtocolError("name is empty")
    if beat.started_at > LATEST:
        raise ProtocolError("started_at is not in seconds since 1970")
    if not WS_URL.fullmatch(beat.url):
        raise ProtocolError("url is not ws://host:port or wss://host:port")
    if beat.ready and not (beat.model and beat.fingerprint and beat.slots):
        raise ProtocolError("ready without model, fingerprint or slots")
    return beat
