"""One conversation's session on this worker, whether or not a socket is attached.

Keeps the newest agent frames for a socket that comes back, and decides how long the
session outlives its socket. Runs on the event loop; the model thread reaches it only
through :class:`Listener`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from inference.engine.api import (
    FrameLog,
    FrameResult,
    ModelThread,
    Primed,
    SessionConfig,
)
from inference.engine.api import Session as EngineSession
from inference.errors import PersonaplexError, ProtocolError, TakenOver
from inference.worker import protocol
from inference.worker.protocol import CaughtUp, Ready, UserFrame

log = logging.getLogger(__name__)

# The newest agent frames, sent again to a socket that attaches: five seconds. Older
# ones are missing in the recording, and would come too late to be played.
REPLAY_FRAMES = 64


@dataclass(frozen=True, eq=False)
class Attachment:
    """The socket that a session is attached to, as the session may use it."""

    send: Callable[[str | bytes | list[bytes]], None]
    fail: Callable[[PersonaplexError], None]
    # ``live`` or ``wants_more`` changed, or a frame came: other time limits apply.
    state_changed: Callable[[], None]


class Listener:
    """Passes the model thread's calls to the event loop, until it is muted."""

    def __init__(self, session: Session) -> None:
        self._session: Session | None = session
        self._loop = asyncio.get_running_loop()

    def mute(self) -> None:
        self._session = None

    def primed(self, info: Primed) -> None:
        self._hand_over(lambda session: session.primed(info))

    def caught_up(self, frame: int) -> None:
        self._hand_over(lambda session: session.caught_up(frame))

    def frame(self, result: FrameResult) -> None:
        self._hand_over(lambda session: session.frame(result))

    def failed(self, error: PersonaplexError) -> None:
        self._hand_over(lambda session: session.failed(error))

    def _hand_over(self, call: Callable[[Session], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(self._call, call)

    def _call(self, call: Callable[[Session], None]) -> None:
        if self._session is not None:
            call(self._session)


class Session:
    """``live``: user frames may come. ``wants_more``: its log is in the model, and
    More has to follow. ``moving``: its log still grows on another worker; such a
    session isn't kept without a socket. ``expired``: it was parked, and no site came
    back in time."""

    def __init__(
        self,
        conversation: str,
        thread: ModelThread,
        *,
        may_park: Callable[[], bool],
        on_parked: Callable[[], None],
        on_ended: Callable[[Session], None],
    ) -> None:
        self.conversation = conversation
        self.attachment: Attachment | None = None
        self.live = self.wants_more = self.moving = self.expired = False
        self._thread = thread
        self._may_park, self._on_parked, self._on_ended = may_park, on_parked, on_ended
        self._engine_session: EngineSession | None = None
        self._listener: Listener | None = None
        self._keep_s = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self._next = 0  # the number of the engine's next frame
        self._newest: deque[tuple[int, bytes]] = deque(maxlen=REPLAY_FRAMES)
        self._context_at_zero = 0  # frames of context left at frame 0
        self._primed: Primed

    # Called by the socket.

    def begin(
        self, config: SessionConfig, attachment: Attachment, keep_s: float
    ) -> None:
        """Take a slot of the engine, or start again in the one it has. Raises
        WorkerBusy."""
        self.mute()
        listener = Listener(self)
        if self._engine_session is None:
            self._engine_session = self._thread.open(config, listener)
        else:
            self._engine_session = self._engine_session.replace(config, listener)
        self._listener = listener
        self.attachment, self._keep_s, self.moving = attachment, keep_s, config.more
        self._next = 0 if config.log is None else len(config.log.tokens)
        self._newest.clear()

    def mute(self) -> None:
        """Ignore what the model thread still says about the session as it was."""
        self.live = self.wants_more = False
        if self._listener is not None:
            self._listener.mute()

    def extend(self, log: FrameLog, more: bool) -> None:
        assert self._engine_session is not None
        self._next += len(log.tokens)
        self.moving = more
        self._engine_session.extend(log, more)

    def push(self, message: bytes, attachment: Attachment) -> None:
        """Give the user frame in ``message`` to the engine, unless another socket has
        just taken the session over. Raises ProtocolError."""
        if not self.live:
            raise ProtocolError("a frame before Ready")
        frame = UserFrame.decode(message)
        if self.attachment is attachment and self._engine_session is not None:
            self._engine_session.push(frame.seq, frame.pcm)
            attachment.state_changed()

    def attach(self, attachment: Attachment, have: int, keep_s: float) -> None:
        """Move the session to another socket, which gets the frames from ``have`` on
        again."""
        if self.attachment is not None:
            self.attachment.fail(TakenOver("attached by another socket"))
        if self._expiry is not None:
            self._expiry.cancel()
        self.attachment, self._keep_s, self._expiry = attachment, keep_s, None
        if not self.live:
            return  # Ready comes when it is primed
        missed = [data for number, data in self._newest if number >= have]
        attachment.send(self._ready())
        attachment.send(missed)
        lost = self._next - have - len(missed)
        log.info(
            "[%s] resumed at frame %d, %d sent again%s",
            self.conversation,
            self._next,
            len(missed),
            f", {lost} no longer kept" if lost > 0 else "",
        )

    def leave(self, attachment: Attachment, keep: bool) -> None:
        """The socket is gone: park the session if that was asked for, else end it."""
        if self.attachment is not attachment:
            return  # another socket has taken it over
        self.attachment = None
        if not keep or self._keep_s <= 0 or self.moving or not self._may_park():
            self.end()
            return
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(self._keep_s, self._expire)
        log.info("[%s] parked for %.0f s at most", self.conversation, self._keep_s)
        self._on_parked()

    def end(self) -> None:
        """Free the slot. Idempotent."""
        self.mute()
        self.attachment = None
        if self._expiry is not None:
            self._expiry.cancel()
        if self._engine_session is not None:
            self._engine_session.close()
        self._on_ended(self)

    def _expire(self) -> None:
        log.info("[%s] expired: not resumed in time", self.conversation)
        self.expired = True
        self.end()

    # Called by the model thread, through Listener.

    def primed(self, info: Primed) -> None:
        self._primed, self.live = info, True
        self._context_at_zero = info.context_frames + self._next
        log.info("[%s] primed in %.0f ms", self.conversation, info.prime_ms)
        if self.attachment is not None:
            self.attachment.state_changed()
            self.attachment.send(self._ready())

    def caught_up(self, frame: int) -> None:
        self.wants_more = True
        if self.attachment is not None:
            self.attachment.state_changed()
            self.attachment.send(protocol.dump(CaughtUp(frame)))

    def frame(self, result: FrameResult) -> None:
        data = protocol.encode_agent_frame(result)
        self._next = result.frame + 1
        self._newest.append((result.frame, data))
        if self.attachment is not None:
            self.attachment.send(data)

    def failed(self, error: PersonaplexError) -> None:
        attachment = self.attachment
        if attachment is None:
            log.warning("[%s] failed while parked: %s", self.conversation, error)
        self.end()
        if attachment is not None:
            attachment.fail(error)

    def _ready(self) -> str:
        model = self._thread.info
        ready = Ready(
            slot=self._primed.slot,
            model=model.model,
            fingerprint=model.fingerprint,
            trained=model.trained,
            prompt_frames=self._primed.prompt_frames,
            prime_ms=self._primed.prime_ms,
            context_frames=max(0, self._context_at_zero - self._next),
            frame=self._next,
            sound_frames=model.sound_frames,
            pin_prompt=model.pin_prompt,
        )
        return protocol.dump(ready)
