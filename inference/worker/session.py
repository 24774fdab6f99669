"""One conversation's session on this worker, with a socket or without.

Owns its place in the engine, its newest frames, and how long it is kept while nobody
is attached. Runs on the event loop; meets the model thread only through
:class:`inference.engine.api.Session`. Knows no messages but those it sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from inference.engine.api import (
    EngineInfo,
    FrameLog,
    FrameResult,
    ModelThread,
    Primed,
    Session,
    SessionConfig,
)
from inference.errors import PersonaplexError, TakenOver
from inference.worker import protocol
from inference.worker.protocol import CaughtUp, Ready, UserFrame

log = logging.getLogger(__name__)

# The newest agent frames, for whoever attaches: five seconds. What is older is lost to
# the recording, and too late to be heard.
REPLAY_FRAMES = 64


class Side(Protocol):
    """The socket that a session is attached to."""

    def send(self, message: str | bytes | list[bytes]) -> None: ...
    def fail(self, error: PersonaplexError) -> None: ...
    def moved_on(self) -> None:
        """``live`` or ``held`` changed."""


class Owner(Protocol):
    @property
    def thread(self) -> ModelThread: ...
    def changed(self) -> None: ...
    def may_keep(self) -> bool: ...
    def expired(self, session: LiveSession) -> None: ...
    def forget(self, session: LiveSession) -> None: ...


class Listener:
    """Carries the model thread's calls over to the event loop, until it is muted."""

    def __init__(self, session: LiveSession) -> None:
        self._session: LiveSession | None = session
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

    def _hand_over(self, call: Callable[[LiveSession], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(self._call, call)

    def _call(self, call: Callable[[LiveSession], None]) -> None:
        if self._session is not None:
            call(self._session)


class LiveSession:
    """``live``: frames may come. ``held``: primed, and waits for what was said since.
    ``moving``: its past still grows elsewhere; such a one is never kept."""

    def __init__(self, owner: Owner, conversation: str) -> None:
        self.conversation = conversation
        self.side: Side | None = None
        self.live = self.held = self.moving = False
        self.opened_at = asyncio.get_running_loop().time()
        self._owner = owner
        self._place: Session | None = None
        self._listener: Listener | None = None
        self._keep_s = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self._next = 0  # the number of the engine's next frame
        self._newest: deque[tuple[int, bytes]] = deque(maxlen=REPLAY_FRAMES)
        self._context_at_zero = 0  # frames of context left at frame 0
        self._primed: Primed

    # From the socket.

    def begin(self, config: SessionConfig, side: Side, keep_s: float) -> None:
        """Take a place in the engine, or begin anew in the one it has. WorkerBusy."""
        self.mute()
        listener = Listener(self)
        if self._place is None:
            self._place = self._owner.thread.open(config, listener)
        else:
            self._place = self._place.replace(config, listener)
        self._listener = listener
        self.side, self._keep_s, self.moving = side, keep_s, config.more
        self._next = 0 if config.log is None else len(config.log.tokens)
        self._newest.clear()

    def mute(self) -> None:
        """Nothing more is heard of what it was."""
        self.live = self.held = False
        if self._listener is not None:
            self._listener.mute()

    def extend(self, said: FrameLog, more: bool) -> None:
        assert self._place is not None
        self._next += len(said.tokens)
        self.moving = more
        self._place.extend(said, more)

    def push(self, frame: UserFrame) -> None:
        assert self._place is not None
        self._place.push(frame.seq, frame.pcm)

    def attach(self, side: Side, have: int, keep_s: float) -> None:
        """``side`` has it from here on, and gets the frames from ``have`` on again."""
        if self.side is not None:
            self.side.fail(TakenOver("attached by another socket"))
        if self._expiry is not None:
            self._expiry.cancel()
        self.side, self._keep_s, self._expiry = side, keep_s, None
        if not self.live:
            return  # Ready comes when it is primed
        missed = [data for number, data in self._newest if number >= have]
        side.send(self._ready())
        side.send(missed)
        lost = self._next - have - len(missed)
        log.info(
            "[%s] goes on at frame %d, %d sent again%s",
            self.conversation,
            self._next,
            len(missed),
            f", {lost} no longer kept" if lost > 0 else "",
        )

    def leave(self, side: Side, keep: bool) -> None:
        """``side`` is gone. Keep the session for a while, if that was asked for."""
        if self.side is not side:
            return  # another one has it
        self.side = None
        if not keep or self._keep_s <= 0 or self.moving or not self._owner.may_keep():
            self.end()
            return
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(self._keep_s, self._owner.expired, self)
        log.info("[%s] parked for %.0f s at most", self.conversation, self._keep_s)
        self._owner.changed()

    def end(self) -> None:
        """Free the place. Idempotent."""
        self.mute()
        self.side = None
        if self._expiry is not None:
            self._expiry.cancel()
        if self._place is not None:
            self._place.close()
        self._owner.forget(self)

    # From the model thread, by way of the loop.

    def primed(self, info: Primed) -> None:
        self._primed, self.live = info, True
        self._context_at_zero = info.context_frames + self._next
        log.info("[%s] primed in %.0f ms", self.conversation, info.prime_ms)
        if self.side is not None:
            self.side.moved_on()
            self.side.send(self._ready())

    def caught_up(self, frame: int) -> None:
        self.held = True
        if self.side is not None:
            self.side.moved_on()
            self.side.send(protocol.dump(CaughtUp(frame)))

    def frame(self, result: FrameResult) -> None:
        data = protocol.encode_agent_frame(result)
        self._next = result.frame + 1
        self._newest.append((result.frame, data))
        if self.side is not None:
            self.side.send(data)

    def failed(self, error: PersonaplexError) -> None:
        side = self.side
        if side is None:
            log.warning("[%s] failed while parked: %s", self.conversation, error)
        self.end()
        if side is not None:
            side.fail(error)

    def _ready(self) -> str:
        model: EngineInfo = self._owner.thread.info
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
