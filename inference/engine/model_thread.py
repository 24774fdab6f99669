"""The one thread that touches the model.

It runs the engine and decides which sessions an exception ends.
:mod:`inference.engine.schedule` chooses what runs next. Must not depend on sockets.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import torch
from numpy.typing import NDArray

from inference.engine.api import (
    EngineInfo,
    EngineStats,
    FrameResult,
    Primed,
    SessionConfig,
    SessionListener,
)
from inference.engine.requests import SteppedEngine, StepResult, ThreadSession, VoiceJob
from inference.engine.schedule import (
    MAX_TICK_MS,
    QUEUE_FRAMES,
    Action,
    Schedule,
    Turn,
)
from inference.errors import ModelError, PersonaplexError, WorkerStopping
from inference.timing import FRAME_MS

log = logging.getLogger(__name__)

GRACE_MS = 4.0
FAILED_TICKS_UNTIL_BROKEN = 3


class EngineBroken(Exception):
    """The engine as a whole can't continue; the process has to be restarted."""


class DeviceLost(EngineBroken):
    """The GPU itself: every later call of this process to it would fail too."""


# Of a kernel that Triton launched; PyTorch's own have a class of their own.
DEVICE_ERRORS = ("Triton Error [CUDA]", "CUDA error")


def is_device_error(error: BaseException) -> bool:
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and str(error).startswith(DEVICE_ERRORS)
    )


class ModelThread:
    """See :class:`inference.engine.api.ModelThread` for what may be called when.

    ``load`` builds and warms the engine; it runs on the thread, because inference
    mode and CUDA's current device belong to threads. ``loaded`` resolves when it is
    done, ``ended`` when the thread is: with an exception if the engine broke.
    ``batches``: whether a tick over many sessions costs about as much as one over one;
    by default that is so on everything but a CPU. Where it is, no session is added
    while ticks take longer than ``max_tick_ms``.
    """

    def __init__(
        self,
        load: Callable[[], SteppedEngine],
        *,
        queue_frames: int = QUEUE_FRAMES,
        batches: bool | None = None,
        grace_ms: float = GRACE_MS,
        max_tick_ms: float = MAX_TICK_MS,
    ) -> None:
        self.loaded: Future[EngineInfo] = Future()
        self.ended: Future[None] = Future()
        self._load = load
        self._batches = batches
        self._grace_ms = grace_ms
        self._schedule = Schedule(queue_frames)
        self._schedule.max_tick_ms = max_tick_ms
        self._measured: Future[float] = Future()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._busy_since: float | None = None
        self._engine: SteppedEngine  # the thread's alone, as is the next
        self._failed_ticks = 0

    # Any thread.

    @property
    def info(self) -> EngineInfo:
        """Only once ``loaded``."""
        return self.loaded.result(timeout=0)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5) -> None:
        """End after the current action; open sessions fail with WorkerStopping."""
        self._schedule.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def open(self, config: SessionConfig, listener: SessionListener) -> ThreadSession:
        session = ThreadSession(self._schedule, config, listener)
        self._schedule.add(session)
        return session

    def encode_voice(
        self, pcm: NDArray[np.float32], progress: Callable[[float], None]
    ) -> Future[bytes]:
        """As in the API; WorkerBusy when too many wait. Cancel the future to give the
        job up."""
        job = VoiceJob(pcm, progress)
        self._schedule.add_voice(job)
        return job.future

    def measure_again(self) -> Future[float]:
        """The tick of one session in ms, once more, when there is nothing to do. Only
        for a worker without sessions: the measurement needs a free slot."""
        self._measured = Future()
        self._schedule.ask_to_measure()
        return self._measured

    def stats(self) -> EngineStats:
        return self._schedule.stats()

    def busy_seconds(self) -> float:
        """How long the current action has been running; what a watchdog looks at."""
        since = self._busy_since
        return 0.0 if since is None else time.perf_counter() - since

    # The model thread.

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                self._start_watched()
                while (action := self._schedule.next()) is not Action.STOP:
                    self._busy_since = time.perf_counter()
                    self._do(action)
                    self._busy_since = None
        except BaseException as error:
            trace = None if isinstance(error, PersonaplexError) else error
            log.critical("The model thread ended: %s", error, exc_info=trace)
            self._end(error)
        else:
            self._end(None)

    def _start_watched(self) -> None:
        try:
            self._start_engine()
        except RuntimeError as error:
            if is_device_error(error):
                raise DeviceLost(f"could not start: {error}") from error
            raise

    def _start_engine(self) -> None:
        self._engine = self._load()
        info = self._engine.info
        self._schedule.slots = info.slots
        self._schedule.note_memory(self._engine.memory_stats())
        if info.device != "cpu" if self._batches is None else self._batches:
            self._schedule.width = info.slots
            self._schedule.grace = self._grace_ms / 1000
        self.loaded.set_result(info)

    def _do(self, action: Action) -> None:
        match action:
            case Action.ADMIT:
                self._admit()
            case Action.TICK:
                self._tick()
            case Action.PRIME:
                self._prime()
            case Action.ENCODE:
                self._encode()
            case Action.MEASURE:
                self._measured.set_result(self._engine.warm_up())

    def _end(self, error: BaseException | None) -> None:
        self._busy_since = None
        sessions, voices = self._schedule.stop()
        reason = WorkerStopping() if error is None else ModelError(str(error))
        for session in sessions:
            self._drop(session, reason)
        for job in voices:
            job.fail(reason)
        if error is None:
            self.ended.set_result(None)
            return
        if not self.loaded.done():
            self.loaded.set_exception(error)
        self.ended.set_exception(error)

    def _admit(self) -> None:
        closing, opening = self._schedule.take_moves()
        for session in closing:
            self._free(session)
        for session in opening:
            try:
                self._take_in(session)
            except Exception as error:  # noqa: BLE001 - a session's border
                self._blame([session], error, "open")
            else:
                self._schedule.begin_priming(session)
        self._schedule.note_memory(self._engine.memory_stats())

    def _take_in(self, session: ThreadSession) -> None:
        rest, session.log_rest = session.log_rest, None
        if rest is None:
            session.slot = self._engine.open(session.config)
            # The log is megabytes, and in the engine.
            session.config = dataclasses.replace(session.config, log=None)
        else:
            self._engine.extend(session.slot, rest, session.more)
            session.frame += len(rest.tokens)

    def _prime(self) -> None:
        session = self._schedule.to_prime()
        if session is None:  # closed since
            return
        try:
            if self._engine.prime(session.slot) > 0:
                return
            self._schedule.note_prompts(self._engine.prompt_stats())
            if session.more:
                self._schedule.hold(session)
                session.listener.caught_up(session.frame)
                return
            primed = Primed(
                slot=session.slot,
                prompt_frames=self._engine.prompt_frames(session.slot),
                prime_ms=(time.perf_counter() - session.opened_at) * 1000,
                context_frames=self._engine.context_frames(session.slot),
            )
            self._schedule.go_live(session)
            session.listener.primed(primed)
        except Exception as error:  # noqa: BLE001 - a session's border
            self._blame([session], error, "prime")

    def _tick(self) -> None:
        turns = self._schedule.take_turns()
        if not turns:  # closed since
            return
        started = time.perf_counter()
        try:
            steps = self._engine.step({slot: t.frame.pcm for slot, t in turns.items()})
            tick = time.perf_counter() - started
            results = [
                (turn.session, _result(turn, started, tick, steps[slot]))
                for slot, turn in turns.items()
            ]
        except Exception as error:  # noqa: BLE001 - the sessions' border
            self._failed_ticks += 1
            self._blame([turn.session for turn in turns.values()], error, "step")
            return
        self._failed_ticks = 0
        late = sum(result.late for _, result in results)
        self._schedule.count_tick(tick, len(results), late)
        self._schedule.note_memory(self._engine.memory_stats())
        for session, result in results:
            self._deliver(session, result)

    def _deliver(self, session: ThreadSession, result: FrameResult) -> None:
        session.frame += 1
        if session.closed:
            return
        try:
            session.listener.frame(result)
        except Exception as error:  # noqa: BLE001 - a session's border
            self._blame([session], error, "hand over a frame")

    def _encode(self) -> None:
        job = self._schedule.to_encode()
        try:
            done = self._advance(job)
        except Exception as error:
            log.exception("A voice could not be encoded")
            job.fail(_as_ours(error))
            done = True
            if is_device_error(error):
                raise DeviceLost(f"could not encode a voice: {error}") from error
        if done:
            self._schedule.voice_done()

    def _advance(self, job: VoiceJob) -> bool:
        if job.future.cancelled():
            return True
        if job.encoder is None:
            job.encoder = self._engine.voice_encoder(job.pcm)
        share = job.encoder.step()
        job.progress(share)
        if share >= 1:
            job.finish(job.encoder.result())
        return share >= 1

    def _blame(
        self, sessions: list[ThreadSession], error: Exception, doing: str
    ) -> None:
        """Close the sessions an exception belongs to, and continue unless all is lost.

        A batch is one computation: when it fails, it is not known whose row it was and
        none of its sessions has a sound state, so all of that tick are closed.
        """
        known = isinstance(error, PersonaplexError)
        for session in sessions:
            name = session.config.conversation
            trace = None if known else error
            log.error("[%s] could not %s: %s", name, doing, error, exc_info=trace)
        if is_device_error(error):
            raise DeviceLost(f"could not {doing}: {error}") from error
        if self._failed_ticks >= FAILED_TICKS_UNTIL_BROKEN:
            raise EngineBroken(f"{self._failed_ticks} ticks failed in a row") from error
        for session in sessions:
            self._drop(session, _as_ours(error))

    def _free(self, session: ThreadSession) -> None:
        if session.slot >= 0:
            self._engine.close(session.slot)
            session.slot = -1

    def _drop(self, session: ThreadSession, error: PersonaplexError) -> None:
        if not self._schedule.close(session):
            return
        try:
            session.listener.failed(error)
        except Exception:
            log.exception("[%s] its listener failed", session.config.conversation)


def _as_ours(error: Exception) -> PersonaplexError:
    return error if isinstance(error, PersonaplexError) else ModelError(str(error))


def _result(turn: Turn, started: float, tick: float, step: StepResult) -> FrameResult:
    queued = started - turn.frame.pushed_at
    return FrameResult(
        frame=turn.session.frame,
        seq=turn.frame.seq,
        dropped=turn.dropped,
        queue_us=int(queued * 1e6),
        tick_us=int(tick * 1e6),
        late=(queued + tick) * 1000 > FRAME_MS,
        tokens=step.tokens,
        piece=step.piece,
        pcm=step.pcm,
    )
