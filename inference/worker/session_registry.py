"""All sessions of a worker by conversation, attached to a socket or parked.

A conversation has at most one session; the newest socket that asks for it gets it.
Runs on the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inference.engine.api import ModelThread, SessionConfig
from inference.errors import NoSession, TakenOver, WorkerBusy
from inference.worker.admission import Admission
from inference.worker.session import Attachment, Session

log = logging.getLogger(__name__)


class SessionRegistry:
    """Counters since start: ``resumed``: attached to after being parked;
    ``taken_over``: from another socket; ``expired``: not resumed in time."""

    def __init__(
        self,
        thread: ModelThread,
        admission: Admission,
        max_keep_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self.resumed = self.taken_over = self.expired = 0
        self._thread = thread
        self._admission = admission
        self._max_keep_s = max_keep_s
        self._on_change = on_change
        self._sessions: dict[str, Session] = {}
        self._reserved = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def parked(self) -> int:
        return sum(session.attachment is None for session in self._sessions.values())

    @contextmanager
    def reserve(self, conversation: str) -> Iterator[None]:
        """Keep a slot while voice and log of the session are received. Raises
        WorkerBusy, WorkerStopping or NoWorker at once when there is none."""
        had = conversation in self._sessions
        taken = self._thread.stats().sessions + self._reserved
        self._admission.check(taken - had)
        self._evict(conversation)
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    def open(
        self, config: SessionConfig, attachment: Attachment, keep_s: float
    ) -> Session:
        """Raises WorkerBusy."""
        self._evict(config.conversation)  # opened by another socket meanwhile
        session = Session(
            config.conversation,
            self._thread,
            may_park=self._may_park,
            on_parked=self._on_change,
            on_ended=self._ended,
        )
        try:
            session.begin(config, attachment, self._limited(keep_s))
        except WorkerBusy as error:
            raise self._admission.busy(str(error)) from error
        self._sessions[config.conversation] = session
        log.info("[%s] opened", config.conversation)
        self._on_change()
        return session

    def restart(
        self,
        session: Session,
        config: SessionConfig,
        attachment: Attachment,
        keep_s: float,
    ) -> None:
        """Start the session again in the slot that it has."""
        session.begin(config, attachment, self._limited(keep_s))
        log.info("[%s] restarted", config.conversation)

    def attach(
        self, conversation: str, attachment: Attachment, have: int, keep_s: float
    ) -> Session:
        """Raises WorkerStopping, NoSession."""
        self._admission.check_running()
        session = self._sessions.get(conversation)
        if session is None or session.moving:
            raise NoSession(f"no session of {conversation:.80}")
        if session.attachment is None:
            self.resumed += 1
        else:
            self.taken_over += 1
        session.attach(attachment, have, self._limited(keep_s))
        self._on_change()
        return session

    def end_parked(self) -> None:
        """The worker stops: they can't be resumed any more."""
        for session in list(self._sessions.values()):
            if session.attachment is None:
                session.end()

    def _may_park(self) -> bool:
        return not (self._admission.stopping or self._admission.draining)

    def _ended(self, session: Session) -> None:
        if self._sessions.get(session.conversation) is session:
            del self._sessions[session.conversation]
            self.expired += session.expired
            self._on_change()

    def _evict(self, conversation: str) -> None:
        session = self._sessions.get(conversation)
        if session is None:
            return
        attachment = session.attachment
        session.end()
        if attachment is not None:
            self.taken_over += 1
            attachment.fail(TakenOver("opened again by another socket"))

    def _limited(self, keep_s: float) -> float:
        return min(keep_s, self._max_keep_s)
