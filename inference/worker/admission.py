"""Whether this worker takes a session now, and what it answers when it does not.

Owns the reasons for refusal and the guess how long a full worker stays full. The
slots themselves are counted by the model thread, which has the last word.
"""

from __future__ import annotations

from collections import deque

from inference.engine.api import EngineInfo
from inference.errors import NoWorker, WorkerBusy, WorkerStopping

REMEMBERED = 50  # ended sessions
ASSUMED_SECONDS = 120.0  # of a session, until some have ended
MIN_WAIT, LONGEST_WAIT = 2.0, 300.0


class Admission:
    def __init__(self) -> None:
        self.info: EngineInfo | None = None  # once loaded and fast enough
        self.why_not = "still loading the model"
        self.stopping = False
        self.draining = False
        self.stalled = False  # the model thread has not come back from its work
        self.refused = 0
        self._durations: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def ready(self) -> bool:
        return self.info is not None and not self.problem

    @property
    def problem(self) -> str:
        """Of a worker whose model is loaded; "" for none."""
        if self.stopping:
            return "stopping"
        if self.draining:
            return "draining"
        return "the model thread is stuck" if self.stalled else ""

    def check_running(self) -> None:
        if self.stopping or self.draining:
            raise WorkerStopping(f"the worker is {self.problem}")

    def check(self, sessions: int) -> EngineInfo:
        """Raise unless a session would be taken now, given how many there are."""
        self.check_running()
        if self.info is None:
            raise NoWorker(self.why_not)
        if self.stalled:
            raise NoWorker(self.problem)
        if sessions >= self.info.slots:
            raise self.busy(f"all {self.info.slots} slots are taken")
        return self.info

    def busy(self, detail: str) -> WorkerBusy:
        self.refused += 1
        error = WorkerBusy(detail)
        error.retry_after_s = self.wait_seconds()
        return error

    def ended(self, seconds: float) -> None:
        self._durations.append(seconds)

    def wait_seconds(self) -> float:
        """Until the first of the running sessions ends, as if they had no memory."""
        slots = self.info.slots if self.info else 1
        known = self._durations
        mean = sum(known) / len(known) if known else ASSUMED_SECONDS
        return round(min(max(mean / slots, MIN_WAIT), LONGEST_WAIT), 1)
