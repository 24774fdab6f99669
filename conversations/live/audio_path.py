"""The way of one frame through the site: packet → PCM → worker → PCM → packet.

With both codecs, the frames in flight, and the time that each stage takes. It runs on
the event loop, about 0.5 ms a frame, so nothing here may wait or use the database.

The log counts frames once and for all; a worker counts those that its model has behind
it. The two differ once a conversation was rewound, so both counts are kept here.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from conversations.audio import opus
from conversations.frame_log import format as frames
from conversations.frame_log.format import UserPacket, saturate
from conversations.frame_log.resume import ResumePoint
from conversations.frame_log.writer import FrameLogWriter
from conversations.live import wire
from conversations.live.frame_pace import FramePace
from conversations.live.outbox import Outbox
from inference.engine.api import FrameResult
from inference.errors import ModelError
from inference.timing import FRAME_SAMPLES

# While there is no worker: as many as a worker lets wait. Older ones are dropped.
MAX_WAITING_FRAMES = 6
SILENCE = np.zeros(FRAME_SAMPLES, np.int16)

# Of each frame the tokens [17] and the user's sound [1920].
ReplayTail = list[tuple[NDArray[np.uint16], NDArray[np.int16]]]


class Sink(Protocol):
    def push(self, seq: int, pcm: NDArray[np.int16]) -> None: ...


@dataclass(slots=True)
class InFlight:
    received_ns: int
    pushed_ns: int
    decode_us: int
    flags: int  # frames.MUTED | GAP | RESENT
    pcm: NDArray[np.int16]


class AudioPath:
    """Without a worker until ``switch_to``. ``decoder``: of the user's packets; it has
    decoded those of the log. ``elapsed_s``: since the conversation began;
    ``silent_s``: since its browser was heard; ``have``: the newest agent frame that
    the browser has, by the user frame that it answers."""

    def __init__(
        self,
        audio: Literal["opus", "pcm"],
        outbox: Outbox,
        log_writer: FrameLogWriter,
        resume_point: ResumePoint | None = None,
        *,
        decoder: opus.Decoder | None = None,
        elapsed_s: float = 0.0,
        silent_s: float = 0.0,
        have: int = -1,
    ) -> None:
        resume_point = resume_point or ResumePoint()
        self.frame = resume_point.frame  # of the log, the next one's
        self.model_frame = 0  # the worker's number for it
        self.dropped = self.late = 0
        # What a worker that catches up still lacks; None while none does.
        self.replay_tail: ReplayTail | None = None
        self._worker: Sink | None = None
        self._outbox = outbox
        self._log_writer = log_writer
        self._kind = wire.OPUS if audio == "opus" else wire.PCM
        self._decoder = decoder or opus.Decoder()
        self._agent_encoder = _encoder()
        # Without WebCodecs in the browser the log's packets are made here.
        self._user_encoder = _encoder()
        now_ns = time.perf_counter_ns()
        self._began_ns = now_ns - int(elapsed_s * 1e9)
        self.heard_ns = now_ns  # when the last user frame came
        self.answered_ns = now_ns - int(silent_s * 1e9)  # and the last agent frame
        self._pace = FramePace(now_ns / 1e9, resume_point.last_seq, silent_s)
        self._pace.missing = resume_point.missing
        self._have = have
        self._answered_seq = resume_point.answered_seq
        self._first_seq: int | None = None  # that came here
        self._lost = 0  # pushed to a worker that is gone, since the last answer
        self._waiting: deque[tuple[int, NDArray[np.int16]]] = deque(
            maxlen=MAX_WAITING_FRAMES
        )
        self._in_flight: OrderedDict[int, InFlight] = OrderedDict(
            (seq, _inherited(now_ns)) for seq in resume_point.unanswered
        )

    @property
    def missing(self) -> int:
        return self._pace.missing

    @property
    def next_seq(self) -> int:
        return self._pace.next_seq

    @property
    def unanswered(self) -> int:
        """User frames that the worker has and has not answered."""
        return len(self._in_flight) - len(self._waiting)

    @property
    def heard(self) -> bool:
        """Whether the browser has sent a frame yet."""
        return self._first_seq is not None

    # --- the worker: there, gone, another one

    def pause(self) -> None:
        """There is no worker for a while: keep the newest frames for the next."""
        self._worker = None

    def switch_to(self, worker: Sink, model_frame: int, *, same: bool) -> None:
        """``same``: this session got what was pushed before, and may answer it yet."""
        if not same:
            waiting = {seq for seq, _ in self._waiting}
            for seq in [seq for seq in self._in_flight if seq not in waiting]:
                del self._in_flight[seq]
                self._lost += 1
        now_ns = time.perf_counter_ns()
        for sent in self._in_flight.values():
            sent.pushed_ns = now_ns
        self._worker, self.model_frame = worker, model_frame
        while self._waiting:
            worker.push(*self._waiting.popleft())

    # --- a user frame in

    def user_frame(self, frame: wire.UserFrame) -> None:
        """Hand a frame to the worker. Raises WireError."""
        received = time.perf_counter_ns()
        gap = self._pace.admit(frame.seq, received / 1e9)
        if frame.kind != self._kind:
            raise wire.WireError(f"kind {frame.kind} after start with {self._kind}")
        pcm, packet = self._decode(frame)
        decoded = time.perf_counter_ns()
        flags = frames.MUTED if frame.flags & wire.MUTED else 0
        if gap:
            flags |= frames.GAP
        if self._worker is None:
            self._waiting.append((frame.seq, pcm))
        else:
            self._worker.push(frame.seq, pcm)
        self._in_flight[frame.seq] = InFlight(
            received, decoded, saturate((decoded - received) / 1000, 16), flags, pcm
        )
        self._log_writer.add_user(UserPacket(frame.seq, flags, packet))
        self.heard_ns = received
        if self._first_seq is None:
            self._first_seq = frame.seq

    def _decode(self, frame: wire.UserFrame) -> tuple[NDArray[np.int16], bytes]:
        """The sound for the worker and the packet for the log."""
        if frame.kind == wire.PCM:
            pcm = np.frombuffer(frame.payload, "<i2")
            return pcm, self._user_encoder.encode(pcm)
        try:
            return self._decoder.decode(frame.payload), frame.payload
        except opus.OpusPacketError as error:
            raise wire.WireError(f"frame {frame.seq}: {error}") from error

    # --- an agent frame out

    def answer(self, result: FrameResult) -> None:
        """Send one agent frame and log it. Raises ModelError for an impossible one."""
        arrived = time.perf_counter_ns()
        sent, dropped = self._take(result, arrived)
        packet = self._agent_encoder.encode(result.pcm)
        encoded = time.perf_counter_ns()
        path_us = saturate((encoded - sent.received_ns) / 1000, 32)
        if result.seq > self._have:
            self._send(result, packet, dropped, path_us)
        timing = (
            result.seq,
            saturate((sent.received_ns - self._began_ns) / 1e6, 32),
            saturate(dropped, 16),
            sent.flags
            | (frames.LATE if result.late else 0)
            | (frames.DROPPED if dropped else 0),
            0,
            sent.decode_us,
            saturate((encoded - arrived) / 1000, 16),
            saturate(result.queue_us, 32),
            saturate(result.tick_us, 32),
            saturate((arrived - sent.pushed_ns) / 1000, 32),
            path_us,
        )
        self._log_writer.add_frame(result.tokens, result.piece, packet, timing)
        if self.replay_tail is not None:
            self.replay_tail.append((result.tokens, sent.pcm))
        self.frame += 1
        self.model_frame += 1
        self._answered_seq, self.answered_ns = result.seq, arrived
        self.dropped += dropped
        self.late += result.late

    def _send(
        self, result: FrameResult, packet: bytes, dropped: int, path_us: int
    ) -> None:
        flags = (wire.LATE if result.late else 0) | (wire.DROPPED if dropped else 0)
        sound = packet if self._kind == wire.OPUS else result.pcm.tobytes()
        self._outbox.put_frame(
            wire.agent_frame(self._kind, flags, path_us, result.seq, sound)
        )
        if result.piece:
            event = wire.event("text", frame=self.frame, piece=result.piece)
            self._outbox.put_event(event)

    def send_again(self, resume_point: ResumePoint) -> None:
        """Give a browser that came back the newest frames that it has not got."""
        if self._kind != wire.OPUS:
            return
        for seq, packet in resume_point.answers:
            if seq > self._have:
                self._outbox.put_frame(wire.agent_frame(wire.OPUS, 0, 0, seq, packet))

    def _take(self, result: FrameResult, now_ns: int) -> tuple[InFlight, int]:
        """What became of the answered user frame, and how many before it were never
        answered: the worker answers in order, so they were dropped on the way."""
        inherited = self._answered_seq < result.seq and (
            self._first_seq is None or result.seq < self._first_seq
        )
        known = result.seq in self._in_flight
        ahead = result.frame - self.model_frame
        # A worker sends again what it kept; more may have been lost than it keeps.
        if not (known or inherited) or ahead < 0 or (ahead and not inherited):
            raise ModelError(
                f"frame {result.frame} answers {result.seq}, "
                f"expected frame {self.model_frame}"
            )
        if ahead:
            self._log_writer.skip(ahead)
            self.frame += ahead
            self.model_frame += ahead
        dropped, self._lost = self._lost, 0
        while self._in_flight and next(iter(self._in_flight)) < result.seq:
            self._in_flight.popitem(last=False)
            dropped += 1
        if not known:
            self._pace.inherit(result.seq)
            return _inherited(now_ns), dropped
        return self._in_flight.pop(result.seq), dropped

    def waiting_s(self, now_ns: int) -> float:
        """How long the oldest unanswered frame has been waiting for the worker."""
        if self._worker is not None:
            for sent in self._in_flight.values():
                return (now_ns - sent.pushed_ns) / 1e9
        return 0.0


def _inherited(now_ns: int) -> InFlight:
    """A frame that another process pushed, before this one had the lease."""
    return InFlight(now_ns, now_ns, 0, frames.RESENT, SILENCE)


def _encoder() -> opus.Encoder:
    return opus.Encoder(settings.OPUS_BITRATE, complexity=settings.OPUS_COMPLEXITY)
