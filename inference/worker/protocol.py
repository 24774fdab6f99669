"""Messages between the site and an inference worker.

Owns the wire format, both ways. Knows no sockets, no Django, no tensors.

A session is one WebSocket ``/session`` with ``Authorization: Bearer SECRET``:

====================  =========  =================================================
message               direction  meaning
====================  =========  =================================================
``Open``              → worker   JSON; who speaks as whom, how tokens are chosen
``VoiceWanted``       ← worker   JSON; the voice prompt is not in the worker's cache
binary kind 3         → worker   the ``.pt`` voice prompt
``Ready``             ← worker   JSON; primed, frames may come
binary kind 1         → worker   one user frame (``UserFrame``)
binary kind 2         ← worker   one agent frame (``AgentFrame``)
``End``               → worker   JSON; the slot may be freed
``Failed``            ← worker   JSON; an error of :mod:`inference.errors`; then close
====================  =========  =================================================

``/voices`` encodes a voice: JSON ``EncodeVoice``, then PCM (float32, 24 kHz mono) as
binary kind 4 in pieces of at most MAX_MESSAGE bytes, then ``VoiceProgress`` … and the
``.pt`` as binary kind 3, or ``Failed``. Binary kinds 3 and 4 are the kind's byte and
the payload, nothing else. All integers and samples are little-endian.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.engine.api import FrameResult, Sampling
from inference.errors import PersonaplexError, ProtocolError
from inference.timing import FRAME_SAMPLES, SAMPLE_RATE, STREAMS

PROTOCOL_VERSION = 1
MAX_MESSAGE = 4 * 1024 * 1024  # bytes; a 7B voice prompt of 60 s is 6 MB, see MAX_VOICE
MAX_VOICE = 16 * 1024 * 1024
MAX_TEXT = 64 * 1024  # of one JSON message
MAX_VOICE_SAMPLES = 90 * SAMPLE_RATE  # the site cuts voices shorter than this
MAX_TOP_K = 65_536

USER_FRAME, AGENT_FRAME, VOICE_PROMPT, VOICE_PCM = 1, 2, 3, 4

_USER_HEADER = struct.Struct("<BBHI")  # kind, flags, reserved, seq
# kind, flags, piece bytes, dropped, frame, seq, queue µs, tick µs
_AGENT_HEADER = struct.Struct("<BBHIIIII")
_PCM_BYTES = 2 * FRAME_SAMPLES
_TOKEN_BYTES = 2 * STREAMS
LATE = 1


@dataclass(frozen=True)
class Open:
    conversation: str
    role_prompt: str = ""
    voice: str = ""  # SHA-256 of the .pt, "" for none
    sampling: Sampling = field(default_factory=Sampling)
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class VoiceWanted:
    voice: str


@dataclass(frozen=True)
class Ready:
    slot: int
    model: str
    fingerprint: str
    trained: bool
    prompt_frames: int
    prime_ms: float
    context_frames: int


@dataclass(frozen=True)
class End:
    pass


@dataclass(frozen=True)
class Failed:
    code: str
    text: str
    retryable: bool
    detail: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True)
class EncodeVoice:
    samples: int  # at 24 kHz
    fingerprint: str = ""  # of the model it must fit; "" for whatever runs there


@dataclass(frozen=True)
class VoiceProgress:
    done: float  # 0 … 1


Message = Open | VoiceWanted | Ready | End | Failed | EncodeVoice | VoiceProgress
_KINDS: dict[str, type[Any]] = {
    "open": Open,
    "voice_wanted": VoiceWanted,
    "ready": Ready,
    "end": End,
    "failed": Failed,
    "encode_voice": EncodeVoice,
    "voice_progress": VoiceProgress,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
T = TypeVar("T")


def dump(message: Message) -> str:
    return json.dumps({"type": _NAMES[type(message)], **dataclasses.asdict(message)})


def parse(text: str) -> Message:
    """The typed message of a JSON text; ProtocolError for anything else."""
    if len(text) > MAX_TEXT:
        raise ProtocolError(f"a JSON message of {len(text)} characters")
    try:
        fields = json.loads(text)
        kind = _KINDS[fields.pop("type")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"no known message: {text[:80]!r}") from error
    message: Message = _build(kind, fields)
    if isinstance(message, Open):
        _check_sampling(message.sampling)
    return message


def _check_sampling(sampling: Sampling) -> None:
    for value in (sampling.temperature_text, sampling.temperature_audio):
        if not (math.isfinite(value) and 0 <= value <= 10):
            raise ProtocolError(f"a temperature of {value}")
    for value in (sampling.top_k_text, sampling.top_k_audio):
        if not 0 < value <= MAX_TOP_K:
            raise ProtocolError(f"top-k of {value}")
    if not 0 <= sampling.seed < 2**63:
        raise ProtocolError(f"a seed of {sampling.seed}")


def _build(kind: type[T], fields: object) -> T:
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(fields, dict) or not set(fields) <= set(known):
        raise ProtocolError(f"unknown fields for {kind.__name__}")
    values = dict(fields)
    if "sampling" in values:
        values["sampling"] = _build(Sampling, values["sampling"])
    for name, value in values.items():
        if not _fits(str(known[name].type), value):
            raise ProtocolError(f"{kind.__name__}.{name} has the wrong type")
    try:
        return kind(**values)
    except TypeError as error:
        raise ProtocolError(f"incomplete {kind.__name__}") from error


def _fits(annotation: str, value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation == "float | None":
        return value is None or number
    return {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": number,
    }.get(annotation, True)


def describe(error: PersonaplexError) -> Failed:
    """The error as it crosses the wire; :func:`rebuild` is its inverse."""
    return Failed(
        code=error.code,
        text=error.text,
        retryable=error.retryable,
        detail=str(error),
        retry_after_s=error.retry_after_s,
    )


def rebuild(failed: Failed) -> PersonaplexError:
    known = {kind.code: kind for kind in PersonaplexError.__subclasses__()}
    error = known.get(failed.code, PersonaplexError)(failed.detail, text=failed.text)
    error.code, error.retryable = failed.code, failed.retryable
    error.retry_after_s = failed.retry_after_s
    return error


def encode_blob(kind: int, data: bytes | memoryview) -> bytes:
    return bytes([kind]) + data


def decode_blob(kind: int, data: bytes) -> memoryview:
    if not data or data[0] != kind:
        raise ProtocolError(
            f"not a message of kind {kind}: {data[:1].hex() or 'empty'}"
        )
    return memoryview(data)[1:]


@dataclass(frozen=True)
class UserFrame:
    seq: int
    pcm: NDArray[np.int16]  # [1920]

    def encode(self) -> bytes:
        header = _USER_HEADER.pack(USER_FRAME, 0, 0, self.seq)
        return header + self.pcm.astype("<i2", copy=False).tobytes()

    @classmethod
    def decode(cls, data: bytes) -> UserFrame:
        if len(data) != _USER_HEADER.size + _PCM_BYTES or data[0] != USER_FRAME:
            raise ProtocolError(f"not a user frame: {len(data)} bytes")
        _, _, _, seq = _USER_HEADER.unpack_from(data)
        return cls(seq, np.frombuffer(data, "<i2", offset=_USER_HEADER.size))


def encode_agent_frame(result: FrameResult) -> bytes:
    piece = result.piece.encode()
    header = _AGENT_HEADER.pack(
        AGENT_FRAME,
        LATE if result.late else 0,
        len(piece),
        result.dropped,
        result.frame,
        result.seq,
        result.queue_us,
        result.tick_us,
    )
    tokens = result.tokens.astype("<u2", copy=False).tobytes()
    return header + tokens + piece + result.pcm.astype("<i2", copy=False).tobytes()


def decode_agent_frame(data: bytes) -> FrameResult:
    if len(data) < _AGENT_HEADER.size or data[0] != AGENT_FRAME:
        raise ProtocolError(f"not an agent frame: {len(data)} bytes")
    _, flags, piece_bytes, dropped, frame, seq, queue_us, tick_us = (
        _AGENT_HEADER.unpack_from(data)
    )
    piece_at = _AGENT_HEADER.size + _TOKEN_BYTES
    pcm_at = piece_at + piece_bytes
    if len(data) != pcm_at + _PCM_BYTES:
        raise ProtocolError(f"agent frame of {len(data)} bytes")
    return FrameResult(
        frame=frame,
        seq=seq,
        dropped=dropped,
        queue_us=queue_us,
        tick_us=tick_us,
        late=bool(flags & LATE),
        tokens=np.frombuffer(data, "<u2", STREAMS, _AGENT_HEADER.size),
        piece=data[piece_at:pcm_at].decode(errors="replace"),
        pcm=np.frombuffer(data, "<i2", FRAME_SAMPLES, pcm_at),
    )
