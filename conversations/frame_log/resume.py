"""The frame log read back in order to resume its conversation.

``ResumePoint`` says where a log ends, ``read_frame_log`` makes of it the FrameLog that
a worker rebuilds a session from. Blocking and slow (tens of milliseconds): always in a
thread.

The user's sound is decoded again from the packets of the log. A decoder that began some
packets earlier gives the very samples that the worker heard: at 32 kbit/s it is equal,
bit for bit, after 8 packets. (Only where the browser sent Opus: without WebCodecs the
packets are our own encoding of the sound, and close to it.) Where packets are missing,
because a web process was killed, there is silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from conversations.audio import opus
from conversations.frame_log.metrics import missing_before
from conversations.frame_log.reader import FrameLogReader
from conversations.frame_log.segments import LogSegments
from inference.engine.api import FrameLog
from inference.timing import FRAME_SAMPLES

if TYPE_CHECKING:
    from conversations.models import Conversation

WARM_UP = 125  # packets (10 s) that a decoder is given before those that count
RESEND_FRAMES = 12  # of the agent's, to a browser that came back: about 1 s
TURN_PAUSE = 12  # frames without text after which the agent's turn is a new one
BEFORE_TEXT = 2  # frames by which a turn begins before its first piece


@dataclass(frozen=True)
class ResumePoint:
    """Where a log ends, for the process that resumes it. The default: an empty one."""

    frame: int = 0  # the next one's number
    answered_seq: int = -1  # the newest user frame that was answered
    last_seq: int = -1  # the newest that is known of
    unanswered: tuple[int, ...] = ()  # seqs of packets after answered_seq
    received_ms: int = 0  # when that was, since ready
    missing: int = 0  # microphone frames
    user_packets: tuple[bytes, ...] = ()  # the newest, to warm up a decoder
    answers: tuple[tuple[int, bytes], ...] = ()  # seq and packet of the newest


def read_resume_point(conversation: Conversation) -> ResumePoint:
    reader = FrameLogReader(conversation)
    timings, end = reader.timings, reader.end
    seqs = timings["seq"].astype(np.int64)
    packets = _user_packets(reader, end - WARM_UP)
    if not len(seqs) and not packets:
        return ResumePoint(end)
    answered = int(seqs[-1]) if len(seqs) else -1
    unanswered = tuple(seq for seq in packets if seq > answered)
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
        user_packets=tuple(packets.values())[-WARM_UP:],
        answers=_newest_answers(reader),
    )


def _newest_answers(reader: FrameLogReader) -> tuple[tuple[int, bytes], ...]:
    newest = reader.frames[-RESEND_FRAMES:]
    if not len(newest):
        return ()
    return tuple(reader.packets("agent", int(newest[0])))[-RESEND_FRAMES:]


def _user_packets(reader: FrameLogReader, from_frame: int) -> dict[int, bytes]:
    """By seq, ascending: a process that let go of its conversation may have written
    some that were there already."""
    return dict(sorted(dict(reader.packets("user", from_frame)).items()))


def read_frame_log(
    conversation: Conversation, segments: LogSegments, end: int
) -> tuple[FrameLog, LogSegments]:
    """What a worker needs to continue after ``segments``, whose open range ends at
    ``end``; and what of that the log really has. Holes (frames that could not be
    written) are left out of both."""
    reader = FrameLogReader(conversation)
    reader.load("tokens", "timings")
    numbers = reader.frames
    wanted = np.zeros(max(end, reader.end), bool)
    for start, stop in segments.until(end):
        wanted[start:stop] = True
    kept = np.flatnonzero(wanted[numbers])
    audible = kept[max(0, len(kept) - conversation.sound_frames) :]
    sound = _decode(reader, audible)
    log = FrameLog(np.ascontiguousarray(reader.tokens[kept], np.uint16), sound)
    return log, LogSegments.of_frames(numbers[kept].tolist(), end)


def _decode(reader: FrameLogReader, rows: NDArray[np.int64]) -> NDArray[np.int16]:
    """int16 [rows, 1920]: the user's sound in these of the reader's frames."""
    pcm = np.zeros((len(rows), FRAME_SAMPLES), np.int16)
    if not len(rows):
        return pcm
    places = {int(seq): at for at, seq in enumerate(reader.timings["seq"][rows])}
    decoder = opus.Decoder()
    packets = _user_packets(reader, int(reader.frames[rows[0]]) - WARM_UP)
    for seq, packet in packets.items():
        sound = decoder.decode_or_silence(packet)
        if (place := places.get(seq)) is not None:
            pcm[place] = sound
    return pcm


def read_turn(
    conversation: Conversation, segments: LogSegments, end: int
) -> int | None:
    """The model's frame before which the agent's latest turn began; None if the agent
    has said nothing yet."""
    spoken = [frame for frame, _ in FrameLogReader(conversation).pieces]
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
