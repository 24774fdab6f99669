"""The heartbeat, a worker's message about itself to the site, and its check.

Used by both ends. :mod:`inference.worker.heartbeat_sender` sends it,
:mod:`inference.views` receives it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from typing import Any, get_type_hints

from inference.errors import ProtocolError

MAX_HEARTBEAT = 8 * 1024  # bytes
HEARTBEAT_VERSION = 1
MOST = 2**53  # of any counter: what JSON carries exactly
LATEST = 2**32  # seconds since 1970
TEXT_LIMITS = {"url": 200, "fingerprint": 64, "version": 40, "why_not": 300}
MAX_TEXT = 120
WS_URL = re.compile(r"wss?://[A-Za-z0-9._\-\[\]:]+(/[A-Za-z0-9._\-/]*)?")


@dataclass(frozen=True)
class Hardware:
    """One sample; the accelerator's figures are None without one."""

    cpu_percent: float
    ram_used_mb: float  # of the machine
    ram_total_mb: float
    process_ram_mb: float
    accelerator: str = ""
    memory_used_mb: float | None = None
    memory_total_mb: float | None = None
    utilisation_percent: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


@dataclass(frozen=True)
class Heartbeat:
    name: str
    url: str  # ws://host:port
    version: str
    ready: bool
    started_at: float  # seconds since 1970
    slots: int
    sessions: int
    model: str  # "" while it loads
    fingerprint: str
    trained: bool
    device: str
    context_frames: int
    frames: int
    late_frames: int
    dropped_frames: int
    tick_p50_ms: float
    tick_p99_ms: float
    parked: int = 0  # of ``sessions``, those that wait for their socket to come back
    draining: bool = False  # ends soon; its sessions should be moved
    why_not: str = ""  # why it is not ready although the model is loaded
    stopping: bool = False  # its last heartbeat
    hardware: Hardware | None = None
    beat: int = HEARTBEAT_VERSION


def dump_heartbeat(beat: Heartbeat) -> bytes:
    return json.dumps(dataclasses.asdict(beat)).encode()


def parse_heartbeat(data: bytes) -> Heartbeat:
    """The heartbeat in ``data``; ProtocolError says which field is wrong."""
    if len(data) > MAX_HEARTBEAT:
        raise ProtocolError(
            f"a heartbeat of {len(data)} bytes, at most {MAX_HEARTBEAT}"
        )
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error
    if not isinstance(fields, dict):
        raise ProtocolError("not a JSON object")
    if (hardware := fields.get("hardware")) is not None:
        fields["hardware"] = Hardware(**_checked(Hardware, hardware))
    beat = Heartbeat(**_checked(Heartbeat, fields))
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


def _checked(kind: type[Any], fields: object) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise ProtocolError(f"{kind.__name__.lower()} is not a JSON object")
    hints = get_type_hints(kind)
    if unknown := sorted(set(fields) - set(hints)):
        raise ProtocolError(f"unknown field {unknown[0]!r:.60}")
    for field in dataclasses.fields(kind):
        if field.name in fields:
            _check(field.name, hints[field.name], fields[field.name])
        elif field.default is dataclasses.MISSING:
            raise ProtocolError(f"{field.name} is missing")
    return fields


def _check(name: str, hint: object, value: Any) -> None:
    if hint in (float | None, Hardware | None) and value is None:
        return
    if hint is bool:
        good = isinstance(value, bool)
    elif hint is str:
        limit = TEXT_LIMITS.get(name, MAX_TEXT)
        good = isinstance(value, str) and len(value) <= limit and "\0" not in value
    elif hint is int:
        good = isinstance(value, int) and not isinstance(value, bool)
        good = good and 0 <= value <= (MOST if "frames" in name else 10_000)
    elif hint in (float, float | None):
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = good and math.isfinite(value) and 0 <= value <= 1e12
    else:
        good = isinstance(value, Hardware)
    if not good:
        raise ProtocolError(f"{name} has a wrong type or is out of range")
