"""What goes over the browser's socket: headers, events and close codes, as in
docs/protocol.md, and what is refused as malformed.

Must not depend on Channels or the database.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal
from uuid import UUID

from conversations.live.json_input import is_number as is_number
from conversations.live.json_input import parse_object
from inference.engine.api import Sampling
from inference.timing import FRAME_SAMPLES

OPUS, PCM = 1, 2
MUTED = 1
LATE, DROPPED = 1, 2
MAX_MESSAGE = 8_192  # bytes, both kinds
MAX_REWIND_SECONDS = 120.0
MAX_SEQ = 2**32 - 1  # of a frame
MAX_SEED = 2**31 - 1  # a whole number in JavaScript and a seed in PyTorch

ENDED = 1000
MALFORMED = 4400
NOT_SIGNED_IN = 4401
NO_PERSONA = 4404
NO_START = 4408
TAKEN_OVER = 4409
RESUME_IMPOSSIBLE = 4410
# More messages, bytes or frames than a page has any use for: the servers close with it
# as well, see personaplex_site.socket_limits.
TOO_FAST = 4429
# "Come back with your token": this process lets go. Not the standard's 1012, which
# Daphne refuses to send.
COME_BACK = 4412
TOO_LARGE = 4413
NO_PLACE = 4503

_USER = struct.Struct("<BBHI")  # kind, flags, reserved, seq
_AGENT = struct.Struct("<BBHI")  # kind, flags, path in 0.1 ms, seq
_PCM_BYTES = 2 * FRAME_SAMPLES


class WireError(Exception):
    """The browser broke the protocol; ``close_code`` says how."""

    close_code = MALFORMED


class TooLarge(WireError):
    close_code = TOO_LARGE


class TooFast(WireError):
    close_code = TOO_FAST


@dataclass(frozen=True, slots=True)
class UserFrame:
    kind: int
    flags: int
    seq: int
    payload: bytes


def parse_frame(data: bytes) -> UserFrame:
    if len(data) > MAX_MESSAGE:
        raise TooLarge(f"{len(data)} bytes")
    if len(data) <= _USER.size:
        raise WireError(f"a frame of {len(data)} bytes")
    kind, flags, _, seq = _USER.unpack_from(data)
    payload = data[_USER.size :]
    if kind not in (OPUS, PCM) or (kind == PCM and len(payload) != _PCM_BYTES):
        raise WireError(f"kind {kind} with {len(payload)} bytes")
    return UserFrame(kind, flags, seq, payload)


def agent_frame(kind: int, flags: int, path_us: int, seq: int, payload: bytes) -> bytes:
    return _AGENT.pack(kind, flags, min(path_us // 100, 0xFFFF), seq) + payload


@dataclass(frozen=True)
class Resume:
    conversation: UUID
    token: str
    have: int  # the newest agent frame that was played, -1 for none


@dataclass(frozen=True)
class Start:
    audio: Literal["opus", "pcm"]
    sampling: Sampling
    seeded: bool  # the browser chose the seed itself
    resume: Resume | None = None
    ticket: str = ""  # of an entry in the queue


@dataclass(frozen=True)
class End:
    pass


@dataclass(frozen=True)
class Leave:
    """Out of the queue."""


@dataclass(frozen=True)
class Rewind:
    seconds: float | None  # None: to where the agent's latest turn began


@dataclass(frozen=True)
class Stats:
    """The page's own figures, as it sent them: see conversations.live.client_stats."""

    fields: dict[str, Any]


Event = Start | End | Leave | Rewind | Stats


def parse_event(text: str) -> Event:
    if len(text) > MAX_MESSAGE:
        raise TooLarge(f"{len(text)} characters")
    try:
        fields = parse_object(text)
    except ValueError as error:
        raise WireError(f"no JSON of ours: {error}: {text[:40]!r}") from error
    match fields:
        case {"type": "end"}:
            return End()
        case {"type": "leave"}:
            return Leave()
        case {"type": "start", "audio": "opus" | "pcm" as audio}:
            wanted = fields.get("sampling") or {}
            sampling = clamp_sampling(wanted)
            resume, ticket = fields.get("resume"), fields.get("ticket", "")
            if not isinstance(ticket, str):
                raise WireError("a ticket is text")
            return Start(
                audio,
                sampling,
                seeded=isinstance(wanted.get("seed"), int),
                resume=None if resume is None else parse_resume(resume),
                ticket=ticket,
            )
        case {"type": "rewind", "seconds": seconds} if is_number(seconds):
            return Rewind(float(min(max(seconds, 1.0), MAX_REWIND_SECONDS)))
        case {"type": "say_again"}:
            return Rewind(None)
        case {"type": "stats"}:
            return Stats(fields)
    raise WireError(f"no known event: {text[:40]!r}")


def parse_resume(fields: object) -> Resume:
    match fields:
        case {
            "conversation": str() as key,
            "token": str() as token,
            "have": int() as have,
        } if type(have) is int and -1 <= have <= MAX_SEQ:
            try:
                return Resume(UUID(key), token, have)
            except ValueError as error:
                raise WireError(f"no conversation {key[:40]!r}") from error
    raise WireError("resume is conversation, token and have")


# The ranges that stay sensible: hotter is noise, colder is what ``greedy`` is for.
_TEMPERATURES = ("temperature_text", "temperature_audio")
_RANGES: dict[str, tuple[float, float]] = {
    "temperature_text": (0.1, 1.5),
    "top_k_text": (1, 1_000),
    "temperature_audio": (0.1, 1.5),
    "top_k_audio": (1, 2_048),
    "seed": (0, MAX_SEED),
}


def sampling_choices() -> dict[str, dict[str, float | None]]:
    """What a page may offer: the ranges that ``clamp_sampling`` moves into."""
    usual = asdict(Sampling()) | {"seed": None}  # a new one each time
    return {
        name: {"least": least, "most": most, "default": usual[name]}
        for name, (least, most) in _RANGES.items()
    }


def clamp_sampling(wanted: object) -> Sampling:
    """What was asked for, moved into safe ranges; WireError for wrong types."""
    if not isinstance(wanted, dict) or not set(wanted) <= {*_RANGES, "greedy"}:
        raise WireError("sampling is no object of known fields")
    values: dict[str, Any] = {}
    for name, value in wanted.items():
        if name == "greedy":
            if not isinstance(value, bool):
                raise WireError("greedy is true or false")
            values[name] = value
            continue
        if not is_number(value):
            raise WireError(f"{name} is a number")
        least, most = _RANGES[name]
        clamped = min(max(value, least), most)
        values[name] = float(clamped) if name in _TEMPERATURES else int(clamped)
    return replace(Sampling(), **values)


def event(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


def sampling_event(sampling: Sampling) -> dict[str, object]:
    return asdict(sampling)
