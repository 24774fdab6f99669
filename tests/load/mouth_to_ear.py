"""How long it takes from a word in the microphone to the answer in the loudspeaker.

    python -m tests.load.mouth_to_ear --seconds 60                 the worker echoes
    python -m tests.load.mouth_to_ear --seconds 60 --model tiny    the small model
    python -m tests.load.mouth_to_ear --seconds 900                and whether it drifts

Chromium with a recording of speech as its microphone, processed as the page asks for.
Microphone and loudspeaker are recorded on one clock; so are both sides in the frame
log. Where the log's user side lies in the microphone's sound and its agent side in the
loudspeaker's, found by cross-correlation, gives the delay of a frame: from its first
sample spoken to the first sample of its answer heard. The answer time begins at the
frame's end, 80 ms later. An echo says in a frame what it
heard in the frame before, so its delay can be measured from the sound alone, too: it is
80 ms more, and both ways have to agree.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.e2e import sounds
from tests.load.hearing import (
    MICROPHONE_RATE,
    Samples,
    Tape,
    median_delay,
    write_wav,
)
from tests.load.listener import Listener, chromium
from tests.load.running import RunningStack, running_stack

ECHO_MS = FRAME_MS = 80.0
SETTLE_SECONDS = 10.0
PIECE_SECONDS = 0.5  # that is looked for at once
QUIET = 0.003  # standard deviation; below it there is no speech
SURE = 0.6  # normalised correlation
EARLIEST, LATEST = 3.0, 25.0  # seconds that the recording may be off the log


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", default="echo", choices=("echo", "tiny"))
    parser.add_argument("--out", default="mouth_to_ear.jsonl")
    given = parser.parse_args()
    limit = str(round(given.seconds) + 120)
    stack = ("--model", given.model, "--slots", 2)
    with (
        running_stack(*stack, CONVERSATION_MAX_SECONDS=limit) as running,
        tempfile.TemporaryDirectory() as folder,
    ):
        running.set_up_django()
        figures = measure(running, Path(folder), given.seconds, given.model == "echo")
    figures = {"model": given.model, **figures}
    with open(given.out, "a") as out:
        out.write(json.dumps(figures) + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0


def measure(
    running: RunningStack, folder: Path, seconds: float, echo: bool
) -> dict[str, Any]:
    from conversations.models import Conversation
    from tests.load.driver.cast import Cast

    seat = Cast(1).seats[0]
    origin = running.urls[0]
    microphone = write_wav(folder / "microphone.wav", speech())
    with chromium(microphone, origin, seat.cookie, plain_microphone=False) as open_:
        listener = open_()
        listener.start(f"{origin}/conversations/talk/{seat.persona}/")
        listener.listen(seconds)
        tape = listener.tape()
        listener.end()
    row = Conversation.objects.get(persona_version__persona=seat.persona)
    figures = {
        "seconds": round(tape.seconds, 1),
        "frames": row.frames,
        "dropped": row.dropped_frames,
        "late": row.late_frames,
        "missing": row.missing_frames,
        "injected_is_heard": round(likeness(tape, microphone), 2),
        **by_log(tape, row),
        **stages(listener, row),
    }
    total = figures.get("frame_to_answer_ms")
    if total is not None:
        trip, framing = figures["stages_ms"]["sent_to_answered"], FRAME_MS
        figures["answer_ms"] = round(total - FRAME_MS, 1)
        figures["stages_ms"]["framing"] = framing
        figures["stages_ms"]["buffer_and_browser"] = round(total - trip - framing, 1)
    if echo:
        delays = tape.delays()
        figures |= drift(delays, tape.seconds)
        middle = median_delay(delays, SETTLE_SECONDS, tape.seconds)
        figures["by_sound_less_echo_ms"] = middle and round(middle - ECHO_MS, 1)
    return figures | {"device_ms": round(listener.device_ms, 1)}


def speech(seconds: float = 120.0) -> Samples:
    """48 kHz. Pieces of two recordings in random order, each a little quicker or slower
    than the last time, with pauses: the recordings alone are over after seconds, and
    what comes again can't be distinguished from what was."""
    import soxr

    chance = np.random.default_rng(0)
    voices = [
        sounds.decoded(path, MICROPHONE_RATE)[0]
        for path in (sounds.RECORDING, sounds.DATA / "espeak_voice.flac")
    ]
    parts: list[Samples] = []
    while sum(map(len, parts)) < seconds * MICROPHONE_RATE:
        voice = voices[chance.integers(len(voices))]
        length = int(chance.uniform(1.5, 3.0) * MICROPHONE_RATE)
        begin = chance.integers(len(voice) - length)
        pace = chance.uniform(0.85, 1.15)
        piece = voice[begin : begin + length]
        parts.append(soxr.resample(piece, MICROPHONE_RATE, MICROPHONE_RATE * pace))
        pause = int(chance.uniform(0.1, 0.8) * MICROPHONE_RATE)
        parts.append(np.zeros(pause, np.float32))
    return np.concatenate(parts).astype(np.float32)


def likeness(tape: Tape, microphone: Path) -> float:
    """Of what was recorded as the microphone to the file that was injected: the median
    over half seconds. The file's clock and the recording's are not one."""
    import soxr

    file = sounds.decoded(microphone)[0]
    loop = soxr.resample(file, sounds.SAMPLE_RATE, tape.rate).astype(np.float32)
    twice, n = np.concatenate([loop, loop]), int(PIECE_SECONDS * tape.rate)
    begin = int(SETTLE_SECONDS * tape.rate)
    pieces = tape.mic[begin : begin + 20 * n].reshape(-1, n)
    spoken = [piece for piece in pieces if piece.std() > QUIET]
    found = [locate(twice, piece)[1] for piece in spoken]
    return float(np.median(found)) if found else 0.0


def locate(whole: Samples, part: Samples) -> tuple[int, float]:
    """Where a sound lies in a longer one, and how alike the two are (0 … 1)."""
    size = 1 << int(np.ceil(np.log2(len(whole) + len(part))))
    spectrum = np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size))
    products = np.fft.irfft(spectrum, size)[: len(whole) - len(part) + 1]
    sums = np.concatenate([[0.0], np.cumsum(whole.astype(np.float64) ** 2)])
    powers = sums[len(part) :] - sums[: -len(part)]
    alike = products / np.sqrt(np.maximum(powers, 1e-9) * float(np.dot(part, part)))
    best = int(np.argmax(alike))
    return best, float(alike[best])


def offsets(recorded: Samples, log: Samples, rate: float) -> list[tuple[float, float]]:
    """(seconds of the log, how much later the recording has it) for every half second
    of the log that is surely found."""
    n, found = int(PIECE_SECONDS * rate), []
    step = max(1.0, len(log) / rate / 200)
    for at in np.arange(0.0, len(log) / rate - PIECE_SECONDS, step):
        begin = int(at * rate)
        piece = log[begin : begin + n]
        first = max(0, begin - int(EARLIEST * rate))
        where = recorded[first : begin + int(LATEST * rate)]
        if piece.std() <= QUIET or len(where) <= n:
            continue
        place, alike = locate(where, piece)
        if alike > SURE:
            found.append((float(at), (first + place - begin) / rate))
    return found


def by_log(tape: Tape, row: Any) -> dict[str, Any]:
    """The delay of a frame near the beginning, in the middle and near the end."""
    user, agent = logged(row, tape.rate)
    spoken = offsets(tape.mic, user, tape.rate)
    heard = offsets(tape.out, agent, tape.rate)
    end = min(len(user), len(agent)) / tape.rate
    cuts = np.linspace(min(SETTLE_SECONDS, end / 4), end, 4)
    thirds = []
    for begin, until in itertools.pairwise(cuts):
        sides = [
            [offset for at, offset in side if begin <= at < until]
            for side in (spoken, heard)
        ]
        if all(sides):
            delay = 1000 * (np.median(sides[1]) - np.median(sides[0]))
            thirds.append({"from_s": round(float(begin), 1), "ms": round(delay, 1)})
    if not thirds:
        return {"pieces_found": [len(spoken), len(heard)]}
    median = round(float(np.median([third["ms"] for third in thirds])), 1)
    return {
        "frame_to_answer_ms": median,
        "by_log": thirds,
        "pieces_found": [len(spoken), len(heard)],
    }


def logged(row: Any, rate: float) -> tuple[Samples, Samples]:
    """Both sides of the frame log as sound, each frame at its sequence number."""
    import soxr

    from conversations.audio.opus import Decoder
    from conversations.frame_log.reader import FrameLogReader
    from inference.timing import FRAME_SAMPLES, SAMPLE_RATE

    reader = FrameLogReader(row)
    user, agent = dict(reader.packets("user")), dict(reader.packets("agent"))
    first, last = min(agent), max(agent)
    sides = []
    for packets in (user, agent):
        decoder = Decoder()
        sound = np.zeros((last - first + 1, FRAME_SAMPLES), np.float32)
        for seq in sorted(packets):
            pcm = decoder.decode(packets[seq])
            if first <= seq <= last:
                sound[seq - first] = pcm / 32768
        sides.append(soxr.resample(sound.reshape(-1), SAMPLE_RATE, rate))
    return sides[0], sides[1]


def stages(listener: Listener, row: Any) -> dict[str, Any]:
    """Medians in ms: what the page saw of the way, and what the frame log says."""
    from conversations.frame_log.reader import FrameLogReader

    passed = np.array(listener.frames)[int(SETTLE_SECONDS / 0.08) :]
    timings = FrameLogReader(row).timings
    trip, site = passed[:, 2] - passed[:, 1], passed[:, 3]

    def middle(values: Any, unit: float = 1.0) -> float:
        return round(float(np.median(values)) * unit, 2)

    return {
        "stages_ms": {
            "sent_to_answered": middle(trip),
            "network_and_servers": middle(trip - site),
            "site": middle(site),
            "site_decode": middle(timings["decode_us"], 1e-3),
            "site_encode": middle(timings["encode_us"], 1e-3),
            "site_to_worker_and_back": middle(timings["worker_us"], 1e-3),
            "worker_queue": middle(timings["queue_us"], 1e-3),
            "worker_tick": middle(timings["tick_us"], 1e-3),
        },
        "sent_to_answered_p99_ms": round(float(np.percentile(trip, 99)), 1),
    }


def drift(delays: list[tuple[float, float]], seconds: float) -> dict[str, Any]:
    """The first minute's median delay and the last one's; shorter runs by fifths."""
    part = min(60.0, seconds / 5)
    begin = median_delay(delays, SETTLE_SECONDS, SETTLE_SECONDS + part)
    end = median_delay(delays, seconds - part, seconds)
    if begin is None or end is None:
        return {}
    return {
        "delay_at_begin_ms": begin,
        "delay_at_end_ms": end,
        "drift_ms": round(end - begin, 1),
    }


if __name__ == "__main__":
    raise SystemExit(main())
