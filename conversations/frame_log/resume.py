"""The frame log read back, to go on from it.

Owns where a log ends, and how it becomes the FrameLog that a worker rebuilds a session
from. Blocking and slow (tens of milliseconds): always in a thread. Knows no sockets.

The user's sound is decoded again from the packets of the log. A decoder that began some
packets earlier gives the very samples that the worker heard: at 32 kbit/s it is equal,
bit for bit, after 8 packets. (Only where the browser sent Opus: without WebCodecs the
packets are our own encoding of the sound, and close to it.) Where packets are missing,
because a web process was killed, there is silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from conversations import opus
from conversations.frame_log.format import (
    UserPacket,
    unpack_agent_packets,
    unpack_timings,
    unpack_tokens,
    unpack_user_packets,
)
from conversations.frame_log.metrics import missing_before
from conversations.frame_log.segments import LogSegments
from conversations.models import Conversation
from inference.engine.api import FrameLog
from inference.timing import FRAME_SAMPLES

WARM_UP = 125  # packets (10 s) that a decoder is given before those that count
RESEND_FRAMES = 12  # of the agent's, to a browser that came back: about 1 s
TURN_PAUSE = 12  # frames without text after which the agent's turn is a new one
BEFORE_TEXT = 2  # frames by which a turn begins before its first piece


@dataclass(frozen=True)
class ResumePoint:
    """Where a log ends, for whoever goes on with it. The default: an empty one."""

    frame: int = 0  # the next one's number
    answered_seq: int = -1  # the newest user frame that was answered
    last_seq: int = -1  # the newest that is known of
    unanswered: tuple[int, ...] = ()  # seqs of packets after answered_seq
    received_ms: int = 0  # when that was, since ready
    missing: int = 0  # microphone frames
    heard: tuple[bytes, ...] = ()  # the newest user packets
    said: tuple[tuple[int, bytes], ...] = ()  # seq and packet of the newest answers


def read_resume_point(conversation: Conversation) -> ResumePoint:
    rows = list(
        conversation.chunks.order_by("first_frame", "frames").values_list(
            "first_frame", "frames", "timings"
        )
    )
    if not rows:
        return ResumePoint()
    timings = np.concatenate([unpack_timings(bytes(row[2])) for row in rows])
    seqs = timings["seq"].astype(np.int64)
    answered = int(seqs[-1]) if len(seqs) else -1
    end = max(first + frames for first, frames, _ in rows)
    packets = _user_packets(conversation, max(0, end - WARM_UP))
    unanswered = tuple(p.seq for p in packets if p.seq > answered)
    last = max([answered, *unanswered])
    missing = missing_before(seqs, int(timings["dropped"].sum()))
    if answered >= 0:
        missing += last - answered - len(unanswered)
    return ResumePoint(
        frame=end,
        answered_seq=answered,
        last_seq=last,
        unanswered=unanswered,
        received_ms=int(timings["received_ms"][-1]) if len(timings) else 0,
        missing=missing,
        heard=tuple(p.packet for p in packets[-WARM_UP:]),
        said=_newest_answers(conversation, end),
    )


def _newest_answers(
    conversation: Conversation, end: int
) -> tuple[tuple[int, bytes], ...]:
    said: list[tuple[int, bytes]] = []
    chunks = conversation.chunks.filter(frames__gt=0).order_by("-first_frame")
    columns = chunks.values_list("timings", "agent_packets")
    for timings, answers in columns[:RESEND_FRAMES]:
        seqs = unpack_timings(bytes(timings))["seq"].tolist()
        packets = unpack_agent_packets(bytes(answers))
        said = [*zip(seqs, packets, strict=True), *said]
    return tuple(said[-RESEND_FRAMES:])


def _user_packets(conversation: Conversation, from_frame: int) -> list[UserPacket]:
    """By seq: those of the chunk that holds this frame and of all later ones."""
    chunks = conversation.chunks
    holding = chunks.filter(first_frame__lte=from_frame, frames__gt=0)
    first = holding.order_by("-first_frame").values_list("first_frame").first()
    columns = chunks.filter(first_frame__gte=first[0] if first else 0)
    found: dict[int, UserPacket] = {}
    for column in columns.values_list("user_packets", flat=True):
        for packet in unpack_user_packets(bytes(column)):
            found[packet.seq] = packet
    return [found[seq] for seq in sorted(found)]


def read_frame_log(
    conversation: Conversation, segments: LogSegments, end: int
) -> tuple[FrameLog, LogSegments]:
    """What a worker needs to continue after ``segments``, whose open range ends at
    ``end``; and what of that the log really has. Holes (frames that could not be
    written) are left out of both."""
    rows = conversation.chunks.filter(frames__gt=0, first_frame__lt=end)
    columns = list(
        rows.order_by("first_frame").values_list("first_frame", "tokens", "timings")
    )
    if not columns:
        return _empty(), segments.of_frames((), end)
    tokens = np.concatenate([unpack_tokens(bytes(column[1])) for column in columns])
    seqs = np.concatenate(
        [unpack_timings(bytes(column[2]))["seq"] for column in columns]
    )
    numbers = np.concatenate(
        [
            np.arange(first, first + len(unpack_timings(bytes(timings))))
            for first, _, timings in columns
        ]
    )
    wanted = np.zeros(max(end, int(numbers[-1]) + 1), bool)
    for start, stop in segments.until(end):
        wanted[start:stop] = True
    kept = np.flatnonzero(wanted[numbers])
    audible = kept[max(0, len(kept) - conversation.sound_frames) :]
    sound = _decode(conversation, numbers[audible], seqs[audible])
    log = FrameLog(np.ascontiguousarray(tokens[kept], np.uint16), sound)
    return log, LogSegments.of_frames(numbers[kept].tolist(), end)


def _empty() -> FrameLog:
    nothing = np.zeros((0, FRAME_SAMPLES), np.int16)
    return FrameLog(np.zeros((0, 17), np.uint16), nothing)


def _decode(
    conversation: Conversation, frames: NDArray[np.int64], seqs: NDArray[np.uint32]
) -> NDArray[np.int16]:
    """int16 [frames, 1920]: the sound of these user frames."""
    pcm = np.zeros((len(frames), FRAME_SAMPLES), np.int16)
    if not len(frames):
        return pcm
    places = {int(seq): place for place, seq in enumerate(seqs)}
    decoder = opus.Decoder()
    for user in _user_packets(conversation, max(0, int(frames[0]) - WARM_UP)):
        sound = decode(decoder, user.packet)
        if (place := places.get(user.seq)) is not None:
            pcm[place] = sound
    return pcm


def decode(decoder: opus.Decoder, packet: bytes) -> NDArray[np.int16]:
    """Of a packet that was decoded when it came; silence if the log is damaged."""
    try:
        return decoder.decode(packet)
    except opus.OpusPacketError:
        return np.zeros(FRAME_SAMPLES, np.int16)


def read_turn(
    conversation: Conversation, segments: LogSegments, end: int
) -> int | None:
    """The model's frame before which the agent's latest turn began; None if the agent
    has said nothing yet."""
    spoken = [
        frame
        for column in conversation.chunks.values_list("pieces", flat=True)
        for frame, _ in column
    ]
    number = 0
    numbers: list[int] = []  # the model's, of frames with text
    for start, stop in segments.until(end):
        inside = (number + frame - start for frame in spoken if start <= frame < stop)
        numbers += sorted(inside)
        number += stop - start
    if not numbers:
        return None
    first = numbers[-1]
    for earlier, later in reversed(list(pairwise(numbers))):
        if later - earlier > TURN_PAUSE:
            break
        first = earlier
    return max(0, first - BEFORE_TEXT)
