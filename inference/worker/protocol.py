"""Messages between the site and an inference worker.

Owns the wire format, both ways. Knows no sockets, no Django, no tensors.

A session is one WebSocket ``/session`` with ``Authorization: Bearer SECRET``:

====================  =========  =================================================
message               direction  meaning
====================  =========  =================================================
``Open``              → worker   JSON; who speaks as whom, how tokens are chosen.
                                 On a live session: its slot begins anew with this
binary kind 5         → worker   right after ``Open`` or ``More``: its log
``VoiceWanted``       ← worker   JSON; the voice prompt is not in the worker's cache
binary kind 3         → worker   the ``.pt`` voice prompt
``CaughtUp``          ← worker   JSON; instead of Ready where ``more`` was announced
``More``              → worker   JSON; what was said since, then its log
``Ready``             ← worker   JSON; primed, frames may come
``Attach``            → worker   JSON, instead of Open; go on with a session that the
                                 worker has kept. Ready, then the frames missed
binary kind 1         → worker   one user frame (``UserFrame``)
binary kind 2         ← worker   one agent frame (``AgentFrame``)
``Draining``          ← worker   JSON; the worker ends soon, move the session
``Park``              → worker   JSON; keep the session, this socket is closed
``End``               → worker   JSON; the slot may be freed
``Failed``            ← worker   JSON; an error of :mod:`inference.errors`; then close
====================  =========  =================================================

A log is uint16 [log_frames, 17] tokens, then int16 [log_sound, 1920] sound, as one
string of bytes in pieces of at most MAX_MESSAGE - 1.

``/voices`` encodes a voice: JSON ``EncodeVoice``, then PCM (float32, 24 kHz mono) as
binary kind 4 in pieces of at most MAX_MESSAGE bytes, then ``VoiceProgress`` … and the
``.pt`` as binary kind 3, or ``Failed``. Binary kinds 3, 4 and 5 are the kind's byte and
the payload, nothing else. All integers and samples are little-endian.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from inference.engine.api import MAX_LOG_FRAMES, FrameLog, Sampling, SessionConfig
from inference.errors import (
    ModelError,
    NoSession,
    NoWorker,
    PersonaplexError,
    ProtocolError,
    RolePromptError,
    TakenOver,
    VoicePromptError,
    WorkerBusy,
    WorkerLost,
    WorkerStopping,
)
from inference.timing import SAMPLE_RATE

# The binary half; whoever speaks the protocol has it from here.
from inference.worker.binary import AGENT_FRAME as AGENT_FRAME
from inference.worker.binary import LOG as LOG
from inference.worker.binary import MAX_MESSAGE as MAX_MESSAGE
from inference.worker.binary import USER_FRAME as USER_FRAME
from inference.worker.binary import VOICE_PCM as VOICE_PCM
from inference.worker.binary import VOICE_PROMPT as VOICE_PROMPT
from inference.worker.binary import UserFrame as UserFrame
from inference.worker.binary import decode_agent_frame as decode_agent_frame
from inference.worker.binary import decode_blob as decode_blob
from inference.worker.binary import decode_log as decode_log
from inference.worker.binary import encode_agent_frame as encode_agent_frame
from inference.worker.binary import encode_blob as encode_blob
from inference.worker.binary import encode_log as encode_log
from inference.worker.binary import log_bytes as log_bytes
from inference.worker.fields import build

PROTOCOL_VERSION = 2
MAX_VOICE = 16 * 1024 * 1024  # bytes; a 7B voice prompt of 60 s is 6 MB
MAX_TEXT = 64 * 1024  # of one JSON message
MAX_VOICE_SAMPLES = 90 * SAMPLE_RATE  # the site cuts voices shorter than this
MAX_TOP_K = 65_536
MAX_LOG_SOUND = 2048  # frames of one log; a 7B codec wants 1,008
MAX_KEEP_SECONDS = 3600.0  # of any worker, whatever its operator allows
# Of answers over HTTP that are about one model: which, "" while none is loaded.
FINGERPRINT_HEADER = "Model-Fingerprint"


@dataclass(frozen=True)
class Open:
    conversation: str
    role_prompt: str = ""
    voice: str = ""  # SHA-256 of the .pt, "" for none
    sampling: Sampling = field(default_factory=Sampling)
    version: int = PROTOCOL_VERSION
    keep_s: float = 0.0  # how long a session that lost its socket is kept
    log_frames: int = 0  # frames it has behind it; their log follows
    log_sound: int = 0  # as many of them, the newest, with the user's sound
    more: bool = False  # More will follow: CaughtUp, not Ready
    # Keep the persona in view when the context is full; None: as the worker does. A
    # moved session goes on as it began.
    pin_prompt: bool | None = None

    def config(self, voice: bytes | None, log: FrameLog) -> SessionConfig:
        """What the engine is asked for, with what followed this message."""
        return SessionConfig(
            conversation=self.conversation,
            role_prompt=self.role_prompt,
            voice=voice,
            sampling=self.sampling,
            pin_prompt=self.pin_prompt,
            log=log if self.log_frames else None,
            more=self.more,
        )


@dataclass(frozen=True)
class More:
    """What was said since; ``log_sound`` equals ``log_frames``."""

    log_frames: int = 0
    log_sound: int = 0
    more: bool = False


@dataclass(frozen=True)
class Attach:
    conversation: str
    have: int = 0  # the first frame that the site has not got
    keep_s: float = 0.0
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class Park:
    pass


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
    context_frames: int  # left now
    frame: int = 0  # the next frame's number
    sound_frames: int = 0  # frames of sound that a log should have
    pin_prompt: bool = False  # when the context is full, the persona stays in view


@dataclass(frozen=True)
class CaughtUp:
    frame: int  # the number of the first frame of the next More


@dataclass(frozen=True)
class Draining:
    seconds: float  # until what still runs is told WorkerStopping


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


Message = (
    Open
    | More
    | Attach
    | Park
    | VoiceWanted
    | Ready
    | CaughtUp
    | Draining
    | End
    | Failed
    | EncodeVoice
    | VoiceProgress
)
_KINDS: dict[str, type[Any]] = {
    "open": Open,
    "more": More,
    "attach": Attach,
    "park": Park,
    "voice_wanted": VoiceWanted,
    "ready": Ready,
    "caught_up": CaughtUp,
    "draining": Draining,
    "end": End,
    "failed": Failed,
    "encode_voice": EncodeVoice,
    "voice_progress": VoiceProgress,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}

# The errors that Failed may carry, by code.
ERRORS: dict[str, type[PersonaplexError]] = {
    kind.code: kind
    for kind in (
        ModelError,
        NoSession,
        NoWorker,
        ProtocolError,
        RolePromptError,
        TakenOver,
        VoicePromptError,
        WorkerBusy,
        WorkerLost,
        WorkerStopping,
    )
}


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
    message: Message = build(kind, fields, {"sampling": Sampling})
    match message:
        case Open(sampling=sampling, keep_s=keep_s):
            _check_sampling(sampling)
            _check_within("keep_s", keep_s, MAX_KEEP_SECONDS)
            _check_log_size(message.log_frames, message.log_sound)
        case Attach(have=have, keep_s=keep_s):
            _check_within("keep_s", keep_s, MAX_KEEP_SECONDS)
            _check_within("have", have, 2**32)
        case More(log_frames=frames, log_sound=sound):
            _check_log_size(frames, sound)
            if sound != frames:
                raise ProtocolError(f"{sound} frames of sound for {frames} said since")
    return message


def _check_within(name: str, value: float, most: float) -> None:
    if not 0 <= value <= most:  # NaN is not
        raise ProtocolError(f"{name} of {value}, at most {most:g}")


def _check_log_size(frames: int, sound: int) -> None:
    _check_within("log_frames", frames, MAX_LOG_FRAMES)
    _check_within("log_sound", sound, min(frames, MAX_LOG_SOUND))


def _check_sampling(sampling: Sampling) -> None:
    for value in (sampling.temperature_text, sampling.temperature_audio):
        if not (math.isfinite(value) and 0 <= value <= 10):
            raise ProtocolError(f"a temperature of {value}")
    for value in (sampling.top_k_text, sampling.top_k_audio):
        if not 0 < value <= MAX_TOP_K:
            raise ProtocolError(f"top-k of {value}")
    if not 0 <= sampling.seed < 2**63:
        raise ProtocolError(f"a seed of {sampling.seed}")


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
    """A code that is not in ERRORS, of a newer worker, gives a PersonaplexError."""
    kind = ERRORS.get(failed.code, PersonaplexError)
    error = kind(failed.detail, text=failed.text)
    error.code, error.retryable = failed.code, failed.retryable
    error.retry_after_s = failed.retry_after_s
    return error
