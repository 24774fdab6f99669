"""Bringing another worker up to date while this one still talks.

It catches up here, so that next to nothing is left for the moment of the change, which
is :mod:`conversations.live.worker_connection`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import numpy as np
from django.conf import settings
from django.db.utils import Error as DatabaseProblem

from conversations.frame_log.resume import read_frame_log
from conversations.frame_log.segments import LogSegments
from conversations.live.recovery import RETRY_SECONDS, candidates
from conversations.live.state import LiveState
from conversations.threads import in_thread
from inference.engine.api import FrameLog
from inference.errors import PersonaplexError
from inference.models import Worker
from inference.timing import FRAME_SAMPLES, STREAMS
from inference.worker.client import Prepared, WorkerSession

log = logging.getLogger(__name__)

# How far the other worker may be behind when this one is stopped.
MAX_LAG_FRAMES = 4


@dataclass(frozen=True)
class HandoverTarget:
    """A session that is nearly up to date; it lacks the path's ``replay_tail``."""

    worker: Worker
    prepared: Prepared[WorkerSession]
    segments: LogSegments


async def prepare_move(
    session: WorkerSession, state: LiveState, segments: LogSegments
) -> HandoverTarget:
    """Once this worker drains, and as soon as another one has a free slot. Cancelled,
    it leaves nothing behind."""
    await session.on_draining.wait()
    log.info("the worker stops in %.0f s", session.drain_seconds)
    while True:
        try:
            for worker in await in_thread(lambda: _others(state)):
                if target := await _prepare(worker, state, segments):
                    return target
        except DatabaseProblem as error:
            log.warning("not moved yet: %s", error)
        state.path.replay_tail = None
        await asyncio.sleep(RETRY_SECONDS)


def _others(state: LiveState) -> list[Worker]:
    here = state.row.worker_name
    return [w for w in candidates(state.row.fingerprint, here) if w.name != here]


async def _prepare(
    worker: Worker, state: LiveState, segments: LogSegments
) -> HandoverTarget | None:
    path, request, began = state.path, state.request, time.monotonic()
    end, path.replay_tail = path.frame, []
    await state.log_writer.flush()
    behind, kept = await in_thread(lambda: read_frame_log(state.row, segments, end))
    prepared = None
    try:
        prepared = await WorkerSession.prepare(
            worker.url, settings.WORKER_SECRET, request.open, request.prompt, log=behind
        )
        while len(path.replay_tail) > MAX_LAG_FRAMES:
            await prepared.catch_up(take_replay_tail(state))
    except PersonaplexError as error:
        log.info("not moved to %s: %s (%s)", worker.name, error.code, error)
        return None
    except BaseException:
        if prepared is not None:
            await prepared.close()
        raise
    log.info("%s is ready after %.1f s", worker.name, time.monotonic() - began)
    return HandoverTarget(worker, prepared, kept)


def take_replay_tail(state: LiveState) -> FrameLog:
    """What was said since it was last asked for."""
    tail, state.path.replay_tail = state.path.replay_tail or [], []
    if not tail:
        nothing = np.zeros((0, FRAME_SAMPLES), np.int16)
        return FrameLog(np.zeros((0, STREAMS), np.uint16), nothing)
    tokens, pcm = zip(*tail, strict=True)
    return FrameLog(np.stack(tokens).astype(np.uint16), np.stack(pcm))
