"""Whether this worker takes a session now, and the error if not.

The slots themselves are counted by the model thread, which has the last word. How long
to wait for one is the site's to say: it knows all workers and who waits.
"""

from __future__ import annotations

from inference.engine.api import EngineInfo
from inference.errors import NoWorker, WorkerBusy, WorkerStopping


class Admission:
    def __init__(self) -> None:
        self.info: EngineInfo | None = None  # once loaded and fast enough
        self.why_not = "still loading the model"
        self.stopping = False
        self.draining = False
        self.stalled = False  # the model thread has not come back from its work
        self.refused = 0

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
        return WorkerBusy(detail)
