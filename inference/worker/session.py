"""One conversation's socket: from Open to the slot being free again.

Owns the order of messages and every time limit of a session. Runs on the event loop;
meets the model thread only through :class:`inference.engine.api.Session`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from inference.engine.api import (
    FrameResult,
    ModelThread,
    Primed,
    Session,
    SessionConfig,
)
from inference.errors import (
    PersonaplexError,
    ProtocolError,
    VoicePromptError,
    WorkerBusy,
)
from inference.worker import protocol
from inference.worker.admission import Admission
from inference.worker.outbox import Outbox
from inference.worker.protocol import End, Open, Ready, UserFrame, VoiceWanted
from inference.worker.voices import VoiceCache

log = logging.getLogger(__name__)

OPEN_SECONDS = 10
VOICE_SECONDS = 30
IDLE_SECONDS = 60  # without a user frame; a muted browser sends silence


class Host(Protocol):
    """What a session needs of the worker it runs on."""

    @property
    def thread(self) -> ModelThread: ...

    admission: Admission
    voices: VoiceCache
    slow_readers: int

    def sessions_changed(self) -> None: ...


class Listener:
    """Carries the model thread's calls over to the event loop."""

    def __init__(self, session: WorkerSide) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()

    def primed(self, info: Primed) -> None:
        self._hand_over(lambda: self._session.primed(info))

    def frame(self, result: FrameResult) -> None:
        self._hand_over(lambda: self._session.frame(result))

    def failed(self, error: PersonaplexError) -> None:
        self._hand_over(lambda: self._session.fail(error))

    def _hand_over(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(call)


class WorkerSide:
    """The worker's end of one ``/session`` socket."""

    def __init__(self, connection: ServerConnection, host: Host) -> None:
        self.connection = connection
        self.host = host
        self.conversation = ""
        self.outbox = Outbox(connection)
        self.live = False
        self.opened_at: float | None = None  # of the slot, in the loop's time
        self._session: Session | None = None
        self._limit: asyncio.Timeout | None = None
        self._failure: asyncio.Future[PersonaplexError] = (
            asyncio.get_running_loop().create_future()
        )

    async def run(self) -> PersonaplexError | None:
        """Serve the session to its end; the error that ended it, if one did."""
        talking = asyncio.create_task(self._talk())
        try:
            either: set[asyncio.Future[Any]] = {talking, self._failure}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            talking.cancel()
            self._free()
        await asyncio.wait({talking})
        if self._failure.done():
            return self._failure.result()
        return _ending(talking)

    def fail(self, error: PersonaplexError) -> None:
        if not self._failure.done():
            self._failure.set_result(error)

    # From the model thread, by way of the loop.

    def primed(self, info: Primed) -> None:
        model = self.host.thread.info
        ready = Ready(
            slot=info.slot,
            model=model.model,
            fingerprint=model.fingerprint,
            trained=model.trained,
            prompt_frames=info.prompt_frames,
            prime_ms=info.prime_ms,
            context_frames=info.context_frames,
        )
        self.live = True
        self._allow_idle()
        self.outbox.put(protocol.dump(ready))
        log.info("[%s] primed in %.0f ms", self.conversation, info.prime_ms)

    def frame(self, result: FrameResult) -> None:
        self.outbox.put(protocol.encode_agent_frame(result))
        if self.outbox.overflowed and not self._failure.done():
            self.host.slow_readers += 1
            log.warning("[%s] the site does not read; cut off", self.conversation)
            self.fail(ProtocolError("too slow a reader"))

    # The socket.

    async def _talk(self) -> None:
        try:
            opened = await self._receive_open()
            self.conversation = opened.conversation
            self.host.admission.check(self.host.thread.stats().sessions)
            voice = await self._voice(opened.voice)
            self._session = self._open(opened, voice)
            self.opened_at = asyncio.get_running_loop().time()
            self.host.sessions_changed()
            log.info("[%s] opened", self.conversation)
            await self._serve(self._session)
        except ConnectionClosed:
            log.info("[%s] the site closed the socket", self.conversation)

    async def _receive_open(self) -> Open:
        message = await self._receive(OPEN_SECONDS, "Open")
        match _parsed(message):
            case Open(version=protocol.PROTOCOL_VERSION) as opened:
                return opened
            case Open(version=version):
                ours = protocol.PROTOCOL_VERSION
                raise ProtocolError(f"protocol {version}, this worker speaks {ours}")
            case other:
                raise ProtocolError(f"{type(other).__name__} where Open was due")

    async def _voice(self, digest: str) -> bytes | None:
        if not digest:
            return None
        if (prompt := self.host.voices.get(digest)) is None:
            self.outbox.put(protocol.dump(VoiceWanted(digest)))
            message = await self._receive(VOICE_SECONDS, "the voice prompt")
            if isinstance(message, str):
                raise ProtocolError("JSON where the voice prompt was due")
            prompt = bytes(protocol.decode_blob(protocol.VOICE_PROMPT, message))
            if len(prompt) > protocol.MAX_VOICE:
                raise VoicePromptError(f"a voice prompt of {len(prompt)} bytes")
            self.host.voices.add(digest, prompt)
        return prompt

    def _open(self, opened: Open, voice: bytes | None) -> Session:
        config = SessionConfig(
            conversation=opened.conversation,
            role_prompt=opened.role_prompt,
            voice=voice,
            sampling=opened.sampling,
        )
        try:
            return self.host.thread.open(config, Listener(self))
        except WorkerBusy as error:  # taken while the voice prompt came
            raise self.host.admission.busy(str(error)) from error

    async def _serve(self, session: Session) -> None:
        """User frames in, until End; a peer that sends none for long is cut off."""
        try:
            async with asyncio.timeout(None) as self._limit:
                while True:
                    message = await self.connection.recv()
                    self._allow_idle()
                    if isinstance(message, bytes) and self.live:
                        frame = UserFrame.decode(message)
                        session.push(frame.seq, frame.pcm)
                    elif isinstance(message, bytes):
                        raise ProtocolError("a frame before Ready")
                    elif isinstance(other := protocol.parse(message), End):
                        return
                    else:
                        raise ProtocolError(f"{type(other).__name__} in mid-session")
        except TimeoutError as error:
            raise ProtocolError(f"no frame for {IDLE_SECONDS} s") from error

    def _allow_idle(self) -> None:
        if self.live and self._limit is not None:
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now + IDLE_SECONDS)

    async def _receive(self, seconds: float, what: str) -> str | bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self.connection.recv()
        except TimeoutError as error:
            raise ProtocolError(f"{what} did not come in {seconds} s") from error

    def _free(self) -> None:
        if self._session is not None:
            self._session.close()
            self.host.sessions_changed()


def _parsed(message: str | bytes) -> protocol.Message:
    if isinstance(message, bytes):
        raise ProtocolError(f"{len(message)} binary bytes where JSON was due")
    return protocol.parse(message)


def _ending(talking: asyncio.Task[None]) -> PersonaplexError | None:
    if talking.cancelled():
        return None
    error = talking.exception()
    if error is None or isinstance(error, PersonaplexError):
        return error
    raise error
