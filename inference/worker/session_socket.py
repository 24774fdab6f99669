"""One ``/session`` socket: from its first message to whatever ends it.

Owns the order of messages and every time limit. The session itself may outlive the
socket, and is :mod:`inference.worker.session`'s. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from inference.engine.api import SessionConfig
from inference.errors import PersonaplexError, ProtocolError, WorkerStopping
from inference.worker import protocol
from inference.worker.blobs import receive_blobs
from inference.worker.outbox import Outbox
from inference.worker.protocol import (
    Attach,
    Draining,
    End,
    More,
    Open,
    Park,
    UserFrame,
    VoiceWanted,
)
from inference.worker.session import LiveSession
from inference.worker.session_registry import Sessions
from inference.worker.voices import VoiceCache

log = logging.getLogger(__name__)

OPEN_SECONDS = 10
MORE_SECONDS = 30  # from CaughtUp to More
IDLE_SECONDS = 60  # without a user frame; a muted browser sends silence


class Host(Protocol):
    """What a socket needs of the worker it leads to."""

    sessions: Sessions
    voices: VoiceCache
    slow_readers: int


class WorkerSide:
    """The worker's end of one ``/session`` socket."""

    def __init__(self, connection: ServerConnection, host: Host) -> None:
        self.connection = connection
        self.host = host
        self.conversation = ""
        self.outbox = Outbox(connection)
        self._session: LiveSession | None = None
        self._keep = False  # the session, when this socket is gone
        self._limit: asyncio.Timeout | None = None
        self._failure: asyncio.Future[PersonaplexError] = (
            asyncio.get_running_loop().create_future()
        )

    async def run(self) -> PersonaplexError | None:
        """Serve the socket to its end; the error that ended it, if one did."""
        talking = asyncio.create_task(self._talk())
        try:
            either: set[asyncio.Future[Any]] = {talking, self._failure}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            talking.cancel()
            if self._session is not None:
                self._session.leave(self, self._keep)
        await asyncio.wait({talking})
        if self._failure.done():
            return self._failure.result()
        return _ending(talking)

    def drain(self, seconds: float) -> None:
        """The worker will end: a session that runs should be moved until then."""
        if self._session is None or self._session.moving:
            self.fail(WorkerStopping("the worker is draining"))
        else:
            self.send(protocol.dump(Draining(seconds)))

    # For the session.

    def send(self, message: str | bytes | list[bytes]) -> None:
        self.outbox.put(message)
        if self.outbox.overflowed and not self._failure.done():
            self.host.slow_readers += 1
            log.warning("[%s] the site does not read; cut off", self.conversation)
            self._keep = True  # as when a socket breaks
            self.fail(ProtocolError("too slow a reader"))

    def fail(self, error: PersonaplexError) -> None:
        if not self._failure.done():
            self._failure.set_result(error)

    def moved_on(self) -> None:
        """What is waited for from here on, and how long."""
        if self._limit is None or self._session is None:
            return
        now = asyncio.get_running_loop().time()
        if self._session.live:
            self._limit.reschedule(now + IDLE_SECONDS)
        elif self._session.held:
            self._limit.reschedule(now + MORE_SECONDS)
        else:
            self._limit.reschedule(None)

    # The socket.

    async def _talk(self) -> None:
        try:
            match await self._receive_first():
                case Open() as opened:
                    self.conversation = opened.conversation
                    self._session = await self._open(opened)
                case Attach(conversation, have, keep_s):
                    self.conversation = conversation
                    self._session = self.host.sessions.attach(
                        conversation, self, have, keep_s
                    )
            await self._serve(self._session)
        except ConnectionClosed:
            self._keep = True
            log.info("[%s] the site closed the socket", self.conversation)

    async def _receive_first(self) -> Open | Attach:
        message = _parsed(await self._receive(OPEN_SECONDS, "Open"))
        if not isinstance(message, Open | Attach):
            raise ProtocolError(f"{type(message).__name__} where Open was due")
        ours = protocol.PROTOCOL_VERSION
        if message.version != ours:
            raise ProtocolError(
                f"protocol {message.version}, this worker speaks {ours}"
            )
        return message

    async def _open(self, opened: Open) -> LiveSession:
        with self.host.sessions.promise(opened.conversation):
            config = await self._gather(opened)
            return self.host.sessions.open(config, self, opened.keep_s)

    async def _serve(self, session: LiveSession) -> None:
        """What the site sends, until it ends or lets go of the session; a peer that
        sends nothing for long is cut off."""
        try:
            async with asyncio.timeout(None) as self._limit:
                self.moved_on()
                while True:
                    message = await self.connection.recv()
                    if isinstance(message, bytes):
                        self._push(session, message)
                    elif await self._obey(session, protocol.parse(message)):
                        return
        except TimeoutError as error:
            what = f"More for {MORE_SECONDS}"
            what = f"frame for {IDLE_SECONDS}" if session.live else what
            raise ProtocolError(f"no {what} s") from error

    def _push(self, session: LiveSession, message: bytes) -> None:
        if not session.live:
            raise ProtocolError("a frame before Ready")
        frame = UserFrame.decode(message)
        if session.side is self:  # else it was taken over a moment ago
            session.push(frame)
            self.moved_on()

    async def _obey(self, session: LiveSession, message: protocol.Message) -> bool:
        """Whether this was the last message."""
        match message:
            case End():
                return True
            case Park():
                self._keep = True
                return True
            case Open(conversation, version=version) if (
                conversation == session.conversation
                and version == protocol.PROTOCOL_VERSION
            ):
                session.mute()
                self.moved_on()
                config = await self._gather(message)
                if session.side is self:
                    sessions = self.host.sessions
                    sessions.begin_anew(session, config, self, message.keep_s)
            case More(frames, sound, more) if session.held:
                session.held = False
                self.moved_on()
                _, said = await receive_blobs(
                    self.connection, voice=False, frames=frames, sound=sound
                )
                session.extend(said, more)
            case other:
                raise ProtocolError(f"{type(other).__name__} in mid-session")
        return False

    # What an Open or More is followed by.

    async def _gather(self, opened: Open) -> SessionConfig:
        voices, digest = self.host.voices, opened.voice
        voice = voices.get(digest) if digest else None
        if wanted := bool(digest) and voice is None:
            self.outbox.put(protocol.dump(VoiceWanted(digest)))
        prompt, said = await receive_blobs(
            self.connection,
            voice=wanted,
            frames=opened.log_frames,
            sound=opened.log_sound,
        )
        if wanted:
            voices.add(digest, prompt)
            voice = prompt
        return SessionConfig(
            conversation=opened.conversation,
            role_prompt=opened.role_prompt,
            voice=voice,
            sampling=opened.sampling,
            pin_prompt=opened.pin_prompt,
            log=said if opened.log_frames else None,
            more=opened.more,
        )

    async def _receive(self, seconds: float, what: str) -> str | bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self.connection.recv()
        except TimeoutError as error:
            raise ProtocolError(f"{what} did not come in {seconds} s") from error


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
