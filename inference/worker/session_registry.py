"""All sessions of a worker, by conversation, attached or parked.

Owns who may have a place: a conversation has one at most, and the newest socket that
asks for it gets it. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inference.engine.api import ModelThread, SessionConfig
from inference.errors import NoSession, TakenOver, WorkerBusy
from inference.worker.admission import Admission
from inference.worker.session import LiveSession, Side

log = logging.getLogger(__name__)


class Sessions:
    """Counters are since start: ``resumed`` were parked, ``taken_over`` had another
    socket, ``expired`` were parked and nobody came back."""

    def __init__(
        self,
        thread: ModelThread,
        admission: Admission,
        longest_kept: float,
        changed: Callable[[], None],
    ) -> None:
        self.thread = thread
        self.changed = changed
        self.resumed = self.taken_over = 0
        self.expired_count = 0
        self._admission = admission
        self._longest_kept = longest_kept
        self._sessions: dict[str, LiveSession] = {}
        self._promised = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def parked(self) -> int:
        return sum(session.side is None for session in self._sessions.values())

    @contextmanager
    def promise(self, conversation: str) -> Iterator[None]:
        """Hold a place for the one who sends what its session begins with. Raises
        WorkerBusy, WorkerStopping or NoWorker at once when there is none."""
        had = conversation in self._sessions
        taken = self.thread.stats().sessions + self._promised
        self._admission.check(taken - had)
        self._evict(conversation)
        self._promised += 1
        try:
            yield
        finally:
            self._promised -= 1

    def open(self, config: SessionConfig, side: Side, keep_s: float) -> LiveSession:
        """Raises WorkerBusy."""
        self._evict(config.conversation)  # opened by another socket meanwhile
        session = LiveSession(self, config.conversation)
        try:
            session.begin(config, side, self._capped(keep_s))
        except WorkerBusy as error:
            raise self._admission.busy(str(error)) from error
        self._sessions[config.conversation] = session
        log.info("[%s] opened", config.conversation)
        self.changed()
        return session

    def begin_anew(
        self, session: LiveSession, config: SessionConfig, side: Side, keep_s: float
    ) -> None:
        session.begin(config, side, self._capped(keep_s))
        log.info("[%s] begins anew", config.conversation)

    def attach(
        self, conversation: str, side: Side, have: int, keep_s: float
    ) -> LiveSession:
        """Raises WorkerStopping, NoSession."""
        self._admission.check_running()
        session = self._sessions.get(conversation)
        if session is None or session.moving:
            raise NoSession(f"no session of {conversation:.80}")
        if session.side is None:
            self.resumed += 1
        else:
            self.taken_over += 1
        session.attach(side, have, self._capped(keep_s))
        self.changed()
        return session

    def end_parked(self) -> None:
        """Nobody can come back to them."""
        for session in list(self._sessions.values()):
            if session.side is None:
                session.end()

    # For the sessions.

    def may_keep(self) -> bool:
        return not (self._admission.stopping or self._admission.draining)

    def expired(self, session: LiveSession) -> None:
        log.info("[%s] nobody came back", session.conversation)
        self.expired_count += 1
        session.end()

    def forget(self, session: LiveSession) -> None:
        if self._sessions.get(session.conversation) is session:
            del self._sessions[session.conversation]
            now = asyncio.get_running_loop().time()
            self._admission.ended(now - session.opened_at)
            self.changed()

    def _evict(self, conversation: str) -> None:
        session = self._sessions.get(conversation)
        if session is None:
            return
        side = session.side
        session.end()
        if side is not None:
            self.taken_over += 1
            side.fail(TakenOver("opened anew by another socket"))

    def _capped(self, keep_s: float) -> float:
        return min(keep_s, self._longest_kept)
