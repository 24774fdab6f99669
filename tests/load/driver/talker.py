"""One browser: its socket, its microphone's clock, and what it makes of the answers.

Implements the browser's half of docs/protocol.md, resuming included. The caller decides
when a frame is due; nothing here waits on the way of a frame.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from conversations.audio.opus import Decoder, OpusPacketError
from conversations.live import wire
from tests.load.driver import marks
from tests.load.driver.cast import Seat
from tests.load.driver.network import Faults, Held
from tests.load.driver.tally import Tally
from tests.load.driver.websocket import BINARY, TEXT, WebSocket, frame

HEADER = struct.Struct("<BBHI")
SILENT_SECONDS = 4.0  # without a word from the site: the connection is no more
OPEN_SECONDS = 90.0  # until `ready`, the first time
END_SECONDS = 60.0
AGAIN_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)  # before each attempt to resume
FINAL_CODES = frozenset({1000, 4400, 4401, 4404, 4408, 4409, 4410, 4413, 4429, 4503})


@dataclass
class Loss:
    at: float  # perf_counter
    back_at: float | None = None


@dataclass(frozen=True)
class Options:
    urls: Sequence[str]  # http://host:port of the web processes
    check_every: int = 20  # one answer in so many is decoded and compared
    resume: bool = True
    faults: Faults = field(default_factory=Faults)


class Talker:
    def __init__(
        self,
        number: int,
        seat: Seat,
        options: Options,
        packets: list[bytes],
        tally: Tally,
        reader: marks.Reader,
    ) -> None:
        self.conversation = ""
        self.reason = ""  # why it ended, as the site said
        self.how = ""  # that, or what else became of it
        self.live = False
        self.losses: list[Loss] = []  # of the connection, one after the other
        self.answers = 0
        self._number, self._seat, self._options = number, seat, options
        self._tally, self._reader = tally, reader
        self._messages = [_prepared(packet) for packet in packets]
        self._decoder = Decoder()
        self._socket: WebSocket | None = None
        self._out = Held(options.faults.loss, self._write)
        self._in = Held(options.faults.loss, self._take_frame)
        self._ready: asyncio.Future[None]
        self._gone: asyncio.Future[int]
        self._first = asyncio.Event()  # the first `ready`
        self._seq = 0  # of the next microphone frame
        self._least_seq = 0
        self._in_flight: dict[int, float] = {}  # seq → when it was sent
        self._answered = -1  # seq of the newest answer
        self._run: deque[bytes] = deque(maxlen=marks.WARM + 1)  # consecutive answers
        self._since_check = number % options.check_every
        self._heard = self._answered_at = 0.0
        self._lost_at: float | None = None
        self._recovering = False  # the site looks for another worker
        self._token = ""
        self._resume_seconds = 0.0
        self._ending = False

    # --- the life of the conversation

    async def hold(self) -> None:
        """From the first connection until it is over, resumed as often as needed."""
        try:
            await self._connect(resuming=False)
        except (OSError, TimeoutError) as error:
            self._over(f"not connected: {type(error).__name__}")
            return
        code = await self._gone
        while self._may_resume(code):
            self._lost_at = self._lost_at or perf_counter()
            self.losses.append(Loss(self._lost_at))
            resumed = await self._come_back()
            if resumed is None:
                return
            code = resumed
        self._over(self.reason or f"close {code}")

    async def live_once(self) -> bool:
        """Wait for the first `ready`; False if it never comes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                await self._first.wait()
        return self.live

    def end(self) -> None:
        self._ending = True
        if self._socket is not None and self._socket.open:
            self._out.put(_event(type="end"))

    def cut(self) -> None:
        """What a network does: the connection is gone without a close."""
        if self._socket is not None:
            self._socket.abort()

    def stall(self, seconds: float) -> None:
        """Nothing passes, either way."""
        self._out.hold(seconds)
        self._in.hold(seconds)
        if self._socket is not None and self._socket.open:
            self._socket.pause()
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, self._socket.resume)

    async def _connect(self, *, resuming: bool, attempt: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._ready, self._gone = loop.create_future(), loop.create_future()
        self._out.clear()
        self._in.clear()
        urls = self._options.urls
        base = urls[(self._number + attempt) % len(urls)]
        self._socket = await WebSocket.connect(
            f"{base.replace('http', 'ws', 1)}/ws/personas/{self._seat.persona}/talk/",
            self._seat.cookie,
            self._receive,
            self._lost,
        )
        self._heard = perf_counter()
        start: dict[str, object] = {"type": "start", "audio": "opus"}
        if resuming:
            have = {"token": self._token, "have": self._answered}
            start["resume"] = {"conversation": self.conversation, **have}
        self._socket.send(_event(**start))

    def _may_resume(self, code: int) -> bool:
        wanted = self._options.resume and self._token and not self._ending
        return bool(wanted and not self.reason and code not in FINAL_CODES)

    async def _come_back(self) -> int | None:
        """Resume on whichever web process answers; the code of the next loss, None
        when it is over."""
        assert self._lost_at is not None
        attempt = 0
        while perf_counter() - self._lost_at < self._resume_seconds + END_SECONDS:
            step = min(attempt, len(AGAIN_SECONDS) - 1)
            await asyncio.sleep(AGAIN_SECONDS[step])
            attempt += 1
            try:
                await self._connect(resuming=True, attempt=attempt)
            except (OSError, TimeoutError):
                continue
            either: set[asyncio.Future[Any]] = {self._ready, self._gone}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self.live:
                self.losses[-1].back_at = perf_counter()
                self._tally.resumed_s.append(perf_counter() - self._lost_at)
                self._lost_at = None
                return await self._gone
            code = self._gone.result()
            if not self._may_resume(code):
                self._over(self.reason or f"not resumed: close {code}")
                return None
        self._over("not resumed in time")
        return None

    def _over(self, how: str) -> None:
        self.live, self.how = False, how
        self._tally.ended[how] += 1
        self._tally.lost += len(self._in_flight)
        self._in_flight.clear()
        self._first.set()

    @property
    def waiting(self) -> bool:
        """Whether answers are still to come."""
        return self.live and bool(self._in_flight)

    # --- the microphone

    def tick(self) -> None:
        """80 ms of microphone have passed. Not counted before the first `ready`."""
        if not self._first.is_set() or self._ending:
            return
        seq, self._seq = self._seq, self._seq + 1
        now = perf_counter()
        if not self.live:
            self._tally.unsent += bool(self._lost_at)
            return
        if now - self._heard > SILENT_SECONDS and not self._recovering:
            self._lost_at = self._answered_at
            self.cut()
            return
        if seq < self._least_seq:
            self._tally.unsent += 1
            return
        self._in_flight[seq] = now
        self._tally.count_sent(now)
        head, body = self._messages[seq % marks.LOOP]
        self._out.put(head + seq.to_bytes(4, "little") + body)

    def _write(self, message: bytes) -> None:
        if self._socket is not None and self._socket.open:
            self._socket.send(message)

    # --- what the site says

    def _lost(self, code: int) -> None:
        if self.live:
            self._lost_at = self._lost_at or perf_counter()
        self.live = False
        if not self._gone.done():
            self._gone.set_result(code)

    def _receive(self, kind: int, payload: bytes) -> None:
        self._heard = perf_counter()
        if kind == BINARY:
            self._in.put(payload)
        else:
            self._take_event(json.loads(payload))

    def _take_event(self, event: dict[str, object]) -> None:
        match event:
            case {"type": "text"}:
                self._tally.pieces += 1
            case {"type": "state", "state": str(state)}:
                self._recovering = state != "live"
            case {"type": "ready", "conversation": str(conversation)}:
                self.conversation = conversation
                self._token = str(event.get("resume") or "")
                self._resume_seconds = _number(event.get("resume_seconds"))
                self._least_seq = int(_number(event.get("next_seq")))
                self._run.clear()
                self._recovering = False
                self.live = True
                self._tally.live += not self._first.is_set()
                self._first.set()
                if not self._ready.done():
                    self._ready.set_result(None)
            case {"type": "error", "code": str(code)}:
                self._tally.errors[code] += 1
            case {"type": "ended", "reason": str(reason)}:
                self.reason = reason

    def _take_frame(self, payload: bytes) -> None:
        now = perf_counter()
        _, flags, path, seq = HEADER.unpack_from(payload)
        sent = self._in_flight.pop(seq, None)
        if sent is None or seq <= self._answered:
            self._tally.reordered += 1
            return
        if seq != self._answered + 1:
            self._give_up_before(seq)
            self._run.clear()
        if self._answered_at and now - self._answered_at > 1:
            self._tally.silent_s.append(now - self._answered_at)
        self._answered, self._answered_at = seq, now
        self.answers += 1
        self._tally.count_answer(sent, now - sent, path / 10_000)
        self._tally.flagged_late += bool(flags & wire.LATE)
        self._tally.flagged_dropped += bool(flags & wire.DROPPED)
        self._run.append(payload[HEADER.size :])
        self._since_check += 1
        if self._since_check >= self._options.check_every:
            self._check(seq)

    def _give_up_before(self, seq: int) -> None:
        """The site answers in order: what is still open before this never comes."""
        passed = [waiting for waiting in self._in_flight if waiting < seq]
        for waiting in passed:
            del self._in_flight[waiting]
        self._tally.lost += len(passed)

    def _check(self, seq: int) -> None:
        """The answer to a frame holds the sound of the frame before it."""
        if len(self._run) <= marks.WARM:
            return  # soon
        self._since_check = 0
        self._tally.checked += 1
        try:
            heard = self._reader.read(self._decoder, list(self._run))
        except OpusPacketError:
            heard = -1
        self._tally.wrong += heard != marks.symbol(self._number, seq - 1)


def _prepared(packet: bytes) -> tuple[bytes, bytes]:
    """A message before and after its sequence number."""
    whole = frame(BINARY, HEADER.pack(wire.OPUS, 0, 0, 0) + packet)
    split = len(whole) - len(packet)
    return whole[: split - 4], whole[split:]


def _event(**fields: object) -> bytes:
    return frame(TEXT, json.dumps(fields).encode())


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
