"""One ``/session`` socket, from its first message to whatever ends it.

Checks the order of messages and sets every time limit. The session may outlive the
socket; it is in :mod:`inference.worker.session`. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

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
    VoiceWanted,
)
from inference.worker.session import Attachment, Session
from inference.worker.session_registry import SessionRegistry
from inference.worker.voices import VoiceCache

log = logging.getLogger(__name__)

OPEN_SECONDS = 10
MORE_SECONDS = 30  # from CaughtUp to More
IDLE_SECONDS = 60  # without a user frame; a muted browser sends silence


class SessionSocket:
    """``slow_reader``: it was cut off because the site did not read."""

    def __init__(
        self,
        connection: ServerConnection,
        sessions: SessionRegistry,
        voices: VoiceCache,
    ) -> None:
        self.connection = connection
        self.conversation = ""
        self.outbox = Outbox(connection)
        self.slow_reader = False
        self._sessions = sessions
        self._voices = voices
        self._attachment = Attachment(self.send, self.fail, self._set_limit)
        self._session: Session | None = None
        self._keep = False  # the session, when this socket is gone
        self._limit: asyncio.Timeout | None = None
        self._failure: asyncio.Future[PersonaplexError] = (
            asyncio.get_running_loop().create_future()
        )

    async def run(self) -> PersonaplexError | None:
        """Serve the socket until it ends; the error that ended it, if one did."""
        conversing = asyncio.create_task(self._converse())
        try:
            either: set[asyncio.Future[Any]] = {conversing, self._failure}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            conversing.cancel()
            if self._session is not None:
                self._session.leave(self._attachment, self._keep)
        await asyncio.wait({conversing})
        if self._failure.done():
            return self._failure.result()
        return _error_of(conversing)

    def drain(self, seconds: float) -> None:
        """The worker will end: a session that runs should be moved until then."""
        if self._session is None or self._session.moving:
            self.fail(WorkerStopping("the worker is draining"))
        else:
            self.send(protocol.dump(Draining(seconds)))

    def send(self, message: str | bytes | list[bytes]) -> None:
        self.outbox.put(message)
        if self.outbox.overflowed and not self._failure.done():
            self.slow_reader = True
            log.warning("[%s] the site does not read; cut off", self.conversation)
            self._keep = True  # as when a socket breaks
            self.fail(ProtocolError("too slow a reader"))

    def fail(self, error: PersonaplexError) -> None:
        if not self._failure.done():
            self._failure.set_result(error)

    def _set_limit(self) -> None:
        """How long the site may take for its next message, in the session's state."""
        if self._limit is None or self._session is None:
            return
        now = asyncio.get_running_loop().time()
        if self._session.live:
            self._limit.reschedule(now + IDLE_SECONDS)
        elif self._session.wants_more:
            self._limit.reschedule(now + MORE_SECONDS)
        else:
            self._limit.reschedule(None)

    async def _converse(self) -> None:
        try:
            match await self._receive_first():
                case Open() as opened:
                    self.conversation = opened.conversation
                    self._session = await self._open(opened)
                case Attach(conversation, have, keep_s):
                    self.conversation = conversation
                    self._session = self._sessions.attach(
                        conversation, self._attachment, have, keep_s
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

    async def _open(self, opened: Open) -> Session:
        with self._sessions.reserve(opened.conversation):
            config = await self._receive_config(opened)
            return self._sessions.open(config, self._attachment, opened.keep_s)

    async def _serve(self, session: Session) -> None:
        """Obey the site until it ends or parks the session; cut it off when it sends
        nothing for long."""
        try:
            async with asyncio.timeout(None) as self._limit:
                self._set_limit()
                while True:
                    message = await self.connection.recv()
                    if isinstance(message, bytes):
                        session.push(message, self._attachment)
                    elif await self._obey(session, protocol.parse(message)):
                        return
        except TimeoutError as error:
            what = f"More for {MORE_SECONDS}"
            what = f"frame for {IDLE_SECONDS}" if session.live else what
            raise ProtocolError(f"no {what} s") from error

    async def _obey(self, session: Session, message: protocol.Message) -> bool:
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
                await self._restart(session, message)
            case More(frames, sound, more) if session.wants_more:
                session.wants_more = False
                self._set_limit()
                _, frame_log = await receive_blobs(
                    self.connection, voice=False, frames=frames, sound=sound
                )
                session.extend(frame_log, more)
            case other:
                raise ProtocolError(f"{type(other).__name__} in mid-session")
        return False

    async def _restart(self, session: Session, opened: Open) -> None:
        session.mute()
        self._set_limit()
        config = await self._receive_config(opened)
        if session.attachment is self._attachment:  # not taken over meanwhile
            self._sessions.restart(session, config, self._attachment, opened.keep_s)

    async def _receive_config(self, opened: Open) -> SessionConfig:
        """With the voice prompt, from the cache or the socket, and the log."""
        digest = opened.voice
        voice = self._voices.get(digest) if digest else None
        if wanted := bool(digest) and voice is None:
            self.outbox.put(protocol.dump(VoiceWanted(digest)))
        prompt, frame_log = await receive_blobs(
            self.connection,
            voice=wanted,
            frames=opened.log_frames,
            sound=opened.log_sound,
        )
        if wanted:
            self._voices.add(digest, prompt)
            voice = prompt
        return opened.config(voice, frame_log)

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


def _error_of(conversing: asyncio.Task[None]) -> PersonaplexError | None:
    if conversing.cancelled():
        return None
    error = conversing.exception()
    if error is None or isinstance(error, PersonaplexError):
        return error
    raise error
