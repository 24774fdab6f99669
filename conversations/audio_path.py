"""The way of one frame through the site: packet → PCM → worker → PCM → packet.

Owns both codecs, what is in flight, and the measuring of every stage. Nothing in here
waits; it runs on the event loop, about 0.5 ms a frame. Knows no database.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from conversations import frames, opus, wire
from conversations.frames import UserPacket, saturate
from conversations.outbox import Outbox
from conversations.recorder import Recorder
from inference.engine.api import FrameResult
from inference.errors import ModelError


class Sink(Protocol):
    def push(self, seq: int, pcm: NDArray[np.int16]) -> None: ...


@dataclass(slots=True)
class InFlight:
    received_ns: int
    pushed_ns: int
    decode_us: int
    flags: int  # frames.MUTED | frames.GAP


class AudioPath:
    def __init__(
        self,
        audio: Literal["opus", "pcm"],
        worker: Sink,
        outbox: Outbox,
        recorder: Recorder,
    ) -> None:
        self.frames = self.dropped = self.late = 0
        self._worker = worker
        self._outbox = outbox
        self._recorder = recorder
        self._kind = wire.OPUS if audio == "opus" else wire.PCM
        self._decoder = opus.Decoder()
        self._agent_encoder = opus.Encoder(settings.OPUS_BITRATE)
        # Without WebCodecs in the browser the log's packets are made here.
        self._user_encoder = opus.Encoder(settings.OPUS_BITRATE)
        self._in_flight: OrderedDict[int, InFlight] = OrderedDict()
        self._began_ns = time.perf_counter_ns()
        self.heard_ns = self._began_ns  # when the last user frame came
        self._pace = wire.Pace(self._began_ns / 1e9)

    @property
    def missing(self) -> int:
        return self._pace.missing

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
        self._worker.push(frame.seq, pcm)
        self._in_flight[frame.seq] = InFlight(
            received, decoded, saturate((decoded - received) / 1000, 16), flags
        )
        self._recorder.add_user(UserPacket(frame.seq, flags, packet))
        self.heard_ns = received

    def _decode(self, frame: wire.UserFrame) -> tuple[NDArray[np.int16], bytes]:
        """The sound for the worker and the packet for the log."""
        if frame.kind == wire.PCM:
            pcm = np.frombuffer(frame.payload, "<i2")
            return pcm, self._user_encoder.encode(pcm)
        try:
            return self._decoder.decode(frame.payload), frame.payload
        except opus.OpusPacketError as error:
            raise wire.WireError(f"frame {frame.seq}: {error}") from error

    def answer(self, result: FrameResult) -> None:
        """Send one agent frame and log it. Raises ModelError for an impossible one."""
        arrived = time.perf_counter_ns()
        sent, dropped = self._take(result)
        packet = self._agent_encoder.encode(result.pcm)
        encoded = time.perf_counter_ns()
        path_us = saturate((encoded - sent.received_ns) / 1000, 32)
        flags = (wire.LATE if result.late else 0) | (wire.DROPPED if dropped else 0)
        sound = packet if self._kind == wire.OPUS else result.pcm.tobytes()
        self._outbox.put_frame(
            wire.agent_frame(self._kind, flags, path_us, result.seq, sound)
        )
        if result.piece:
            event = wire.event("text", frame=result.frame, piece=result.piece)
            self._outbox.put_event(event)
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
        self._recorder.add_frame(result.tokens, result.piece, packet, timing)
        self.frames += 1
        self.dropped += dropped
        self.late += result.late

    def _take(self, result: FrameResult) -> tuple[InFlight, int]:
        """What became of the answered user frame, and how many before it were never
        answered: the worker answers in order, so they were dropped on the way."""
        if result.frame != self.frames or result.seq not in self._in_flight:
            raise ModelError(
                f"frame {result.frame} answers {result.seq}, expected {self.frames}"
            )
        dropped = 0
        while True:
            seq, sent = self._in_flight.popitem(last=False)
            if seq == result.seq:
                return sent, dropped
            dropped += 1

    def waiting_s(self, now_ns: int) -> float:
        """How long the oldest unanswered frame has been waiting for the worker."""
        for sent in self._in_flight.values():
            return (now_ns - sent.pushed_ns) / 1e9
        return 0.0
