"""Messages between the site and an inference worker.

A session is one WebSocket ``/session`` with ``Authorization: Bearer SECRET``:

====================  =========  =================================================
message               direction  meaning
====================  =========  =================================================
``Open``              → worker   JSON; persona, voice and sampling. On a live
                                 session: start again in the same slot
binary kind 5         → worker   right after ``Open`` or ``More``: its log
``VoiceWanted``       ← worker   JSON; the voice prompt is not in the worker's cache
binary kind 3         → worker   the ``.pt`` voice prompt
``CaughtUp``          ← worker   JSON; instead of Ready where ``more`` was announced
``More``              → worker   JSON; the frames since, then their log
``Ready``             ← worker   JSON; primed, frames may come
``Attach``            → worker   JSON, instead of Open; resume a session that the
                                 worker has kept. Ready, then the missed frames
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
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from inference.checked_json import STRICT, Count, Decoder
from inference.engine.api import (
    MAX_LOG_FRAMES,
    MAX_TEMPERATURE,
    FrameLog,
    Sampling,
    SessionConfig,
)
from inference.errors import WORKER_ERRORS, PersonaplexError, ProtocolError
from inference.prompts.voice_name import VOICE_NAME
from inference.timing import SAMPLE_RATE

# The binary half, so that one import gives the whole protocol.
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

PROTOCOL_VERSION = 2
MAX_VOICE = 16 * 1024 * 1024  # bytes; a 7B voice prompt of 60 s is 6 MB
MAX_TEXT = 64 * 1024  # of one JSON message
MAX_VOICE_SAMPLES = 90 * SAMPLE_RATE  # the site cuts voices shorter than this
MAX_TOP_K = 65_536
MAX_LOG_SOUND = 2048  # frames of one log; a 7B codec wants 1,008
MAX_KEEP_SECONDS = 3600.0  # of any worker, whatever its operator allows
MAX_PRESETS = 256
# Header of HTTP answers about the model; "" while none is loaded.
FINGERPRINT_HEADER = "Model-Fingerprint"

KeepSeconds = Annotated[float, Field(ge=0, le=MAX_KEEP_SECONDS)]
LogFrames = Annotated[int, Field(ge=0, le=MAX_LOG_FRAMES)]
LogSound = Annotated[int, Field(ge=0, le=MAX_LOG_SOUND)]


def _tag(name: str) -> Any:
    """What a message is called on the wire."""
    return field(default=name, kw_only=True, repr=False)


class _Message:
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Open(_Message):
    conversation: str
    role_prompt: str = ""
    voice: str = ""  # SHA-256 of the .pt, "" for none
    sampling: Sampling = field(default_factory=Sampling)
    version: Count = PROTOCOL_VERSION
    keep_s: KeepSeconds = 0.0  # how long a session that lost its socket is kept
    log_frames: LogFrames = 0  # of the frames so far; their log follows
    log_sound: LogSound = 0  # as many of them, the newest, with the user's sound
    more: bool = False  # More will follow: CaughtUp, not Ready
    # Keep the persona in view when the context is full; None: the worker's option. A
    # moved session keeps what it began with.
    pin_prompt: bool | None = None
    type: Literal["open"] = _tag("open")

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
class More(_Message):
    """The frames since the log of Open or the last More. All of them with sound:
    ``log_sound`` equals ``log_frames``."""

    log_frames: LogFrames = 0
    log_sound: LogSound = 0
    more: bool = False
    type: Literal["more"] = _tag("more")


@dataclass(frozen=True)
class Attach(_Message):
    conversation: str
    # The first frame that the site has not got.
    have: Annotated[int, Field(ge=0, le=2**32)] = 0
    keep_s: KeepSeconds = 0.0
    version: Count = PROTOCOL_VERSION
    type: Literal["attach"] = _tag("attach")


@dataclass(frozen=True)
class Park(_Message):
    type: Literal["park"] = _tag("park")


@dataclass(frozen=True)
class VoiceWanted(_Message):
    voice: str
    type: Literal["voice_wanted"] = _tag("voice_wanted")


@dataclass(frozen=True)
class Ready(_Message):
    slot: Count
    model: str
    fingerprint: str
    trained: bool
    prompt_frames: Count
    prime_ms: float
    context_frames: Count  # left now
    frame: Count = 0  # the next frame's number
    sound_frames: Count = 0  # frames of sound that a log should have
    pin_prompt: bool = False  # when the context is full, the persona stays in view
    type: Literal["ready"] = _tag("ready")


@dataclass(frozen=True)
class CaughtUp(_Message):
    frame: Count  # the number of the first frame of the next More
    type: Literal["caught_up"] = _tag("caught_up")


@dataclass(frozen=True)
class Draining(_Message):
    seconds: float  # then sessions that still run get WorkerStopping
    type: Literal["draining"] = _tag("draining")


@dataclass(frozen=True)
class End(_Message):
    type: Literal["end"] = _tag("end")


@dataclass(frozen=True)
class Failed(_Message):
    code: str
    text: str
    retryable: bool
    detail: str = ""
    type: Literal["failed"] = _tag("failed")


@dataclass(frozen=True)
class EncodeVoice(_Message):
    samples: Count  # at 24 kHz
    fingerprint: str = ""  # of the model it must fit; "" for any
    type: Literal["encode_voice"] = _tag("encode_voice")


@dataclass(frozen=True)
class VoiceProgress(_Message):
    done: float  # 0 … 1
    type: Literal["voice_progress"] = _tag("voice_progress")


@dataclass(frozen=True)
class Preset:
    """A voice that comes with the model, in the JSON list of ``GET /presets``."""

    __pydantic_config__ = STRICT

    name: Annotated[str, Field(pattern=rf"^(?:{VOICE_NAME.pattern})$")]
    # For people.
    label: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,120}$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256 of the .pt
    seconds: Annotated[float, Field(gt=0, le=600)]


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
PRESETS: Decoder[list[Preset]] = Decoder(
    Annotated[list[Preset], Field(max_length=MAX_PRESETS)]
)
_DECODER: Decoder[Message] = Decoder(Annotated[Message, Field(discriminator="type")])


def dump(message: Message) -> str:
    return json.dumps(dataclasses.asdict(message))


def parse(text: str) -> Message:
    """The typed message of a JSON text; ProtocolError for anything else."""
    if len(text) > MAX_TEXT:
        raise ProtocolError(
            f"a JSON message of {len(text)} characters, at most {MAX_TEXT}"
        )
    message = _DECODER.decode(text)
    match message:
        case Open(log_frames=frames, log_sound=sound, sampling=sampling):
            _check_sampling(sampling)
            if sound > frames:
                raise ProtocolError(f"log_sound of {sound} for {frames} log_frames")
        case More(log_frames=frames, log_sound=sound) if sound != frames:
            raise ProtocolError(f"log_sound of {sound} for {frames} log_frames of More")
    return message


def _check_sampling(sampling: Sampling) -> None:
    for value in (sampling.temperature_text, sampling.temperature_audio):
        if not 0 <= value <= MAX_TEMPERATURE:
            raise ProtocolError(
                f"a temperature of {value}, not from 0 to {MAX_TEMPERATURE:g}"
            )
    for value in (sampling.top_k_text, sampling.top_k_audio):
        if not 0 < value <= MAX_TOP_K:
            raise ProtocolError(f"a top-k that is not from 1 to {MAX_TOP_K}")
    if not 0 <= sampling.seed < 2**63:
        raise ProtocolError("a seed that is negative or above 2**63 - 1")


def describe(error: PersonaplexError) -> Failed:
    """The error as it crosses the wire."""
    return Failed(
        code=error.code,
        text=error.text,
        retryable=error.retryable,
        detail=str(error),
    )


def rebuild(failed: Failed) -> PersonaplexError:
    """The inverse of :func:`describe`; a PersonaplexError for an unknown code, which a
    newer worker may send."""
    kind = WORKER_ERRORS.get(failed.code, PersonaplexError)
    error = kind(failed.detail, text=failed.text)
    error.code, error.retryable = failed.code, failed.retryable
    return error
