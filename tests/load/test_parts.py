"""What the load driver and the ear are made of."""

import asyncio
import struct

import numpy as np
import pytest

from conversations.audio.opus import Decoder, Encoder
from tests.load.driver import marks
from tests.load.driver.tally import Histogram
from tests.load.driver.websocket import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    HandshakeRefused,
    WebSocket,
    frame,
)
from tests.load.hearing import LOOP_SECONDS, Tape, median_delay, wandering_tone
from tests.load.mouth_to_ear import locate


def coded_twice(mark, frames):
    decoder, encoder = Decoder(), Encoder(48_000)
    packets = marks.packets(mark, 32_000) * (1 + frames // marks.LOOP)
    return [encoder.encode(decoder.decode(packet)) for packet in packets[:frames]]


@pytest.mark.parametrize("mark", [0, 7, 63, 200])
def test_a_mark_is_read_after_two_passes_of_opus(mark):
    heard, reader, decoder = coded_twice(mark, 40), marks.Reader(), Decoder()
    for turn in range(marks.WARM, 40, 3):
        run = heard[turn - marks.WARM : turn + 1]
        assert reader.read(decoder, run) == marks.symbol(mark, turn)


def test_marks_differ_between_conversations_and_in_time():
    whole = {m: [marks.symbol(m, t) for t in range(marks.LOOP)] for m in range(200)}
    same = sum(a == b for a, b in zip(whole[3], whole[4], strict=True))
    assert same < 5
    assert all(len(set(symbols)) == marks.LOOP for symbols in whole.values())


def test_percentiles_of_a_histogram():
    histogram = Histogram()
    for ms in range(1, 101):
        histogram.add(ms / 1000)
    found = histogram.summary()
    assert (found["p50"], found["p99"], found["max"]) == pytest.approx(
        (50, 99, 100), abs=0.2
    )
    histogram.clear()
    assert histogram.summary() == {}


class Peer(asyncio.Protocol):
    """A server that answers with prepared bytes, in pieces of one byte."""

    def __init__(self, answer):
        self.answer, self.got = answer, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.got += data
        if self.answer and b"\r\n\r\n" in self.got:
            answer, self.answer = self.answer, b""
            for byte in answer:
                self.transport.write(bytes([byte]))


async def connected(answer):
    peer, heard = Peer(answer), []
    gone = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: peer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        socket = await WebSocket.connect(
            f"ws://127.0.0.1:{port}/path",
            "name=value",
            lambda kind, payload: heard.append((kind, payload)),
            gone.set_result,
        )
    finally:
        server.close()
    return socket, peer, heard, gone


def of_server(kind, payload):
    head = bytes([0x80 | kind])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + bytes([126]) + struct.pack(">H", len(payload)) + payload


ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


async def test_messages_arrive_whole_however_they_are_cut():
    long = bytes(range(256)) * 3
    said = of_server(TEXT, b"hello") + of_server(PING, b"?") + of_server(BINARY, long)
    closing = of_server(CLOSE, struct.pack(">H", 4410))
    _, peer, heard, gone = await connected(ACCEPTED + said + closing)
    assert await asyncio.wait_for(gone, 5) == 4410
    assert heard == [(TEXT, b"hello"), (BINARY, long)]
    assert b"Cookie: name=value" in peer.got
    assert frame(10, b"?") in peer.got  # the pong


async def test_a_connection_that_breaks_is_1006():
    _, peer, _, gone = await connected(ACCEPTED)
    peer.transport.abort()
    assert await asyncio.wait_for(gone, 5) == 1006


async def test_a_refusal_says_so():
    with pytest.raises(HandshakeRefused, match="403"):
        await connected(b"HTTP/1.1 403 Forbidden\r\n\r\n")


def tape_with(delay, gap=(0.0, 0.0), rate=16_000):
    mic = wandering_tone()[: 12 * 48_000 : 3]
    out = np.concatenate([np.zeros(int(delay * rate), np.float32), mic])[: len(mic)]
    begin, length = gap
    out[int(begin * rate) : int((begin + length) * rate)] = 0
    return Tape(rate, mic, out)


def test_a_delay_is_measured_in_the_sound_to_the_millisecond():
    delays = tape_with(0.237).delays()
    assert median_delay(delays, 2, 12) == pytest.approx(237, abs=1)


def test_gaps_are_counted_and_short_ones_are_not():
    assert tape_with(0.1, (5.0, 0.05)).gaps() == []
    [(at, length)] = tape_with(0.1, (5.0, 0.2)).gaps()
    assert (at, length) == pytest.approx((5.0, 0.2), abs=0.01)


def test_the_microphones_sound_ends_where_it_begins():
    tone = wandering_tone()
    assert len(tone) == LOOP_SECONDS * 48_000
    step = float(np.abs(np.diff(tone)).max())
    assert abs(float(tone[0] - tone[-1])) < step


def test_a_part_is_found_in_the_whole():
    whole = np.random.default_rng(1).normal(size=50_000).astype(np.float32)
    place, alike = locate(whole, whole[30_000:34_000])
    assert place == 30_000 and alike == pytest.approx(1, abs=1e-3)
