"""Bringing another worker up to date while this one still talks.

Owns the catching up, so that what is left for the moment of the change is next to
nothing. The change itself is the worker link's.
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
from conversations.live.state import Held
from conversations.threads import in_thread
from inference.engine.api import FrameLog
from inference.errors import PersonaplexError
from inference.models import Worker
from inference.timing import FRAME_SAMPLES, STREAMS
from inference.worker.client import Prepared, WorkerSession

log = logging.getLogger(__name__)

NEARLY = 4  # frames that the other worker may be behind when this one is stopped


@dataclass(frozen=True)
class Elsewhere:
    """A session that is nearly up to date. What it lacks is on the path's tape."""

    worker: Worker
    prepared: Prepared[WorkerSession]
    segments: LogSegments


async def prepare_move(
    session: WorkerSession, held: Held, segments: LogSegments
) -> Elsewhere:
    """Once this worker drains, and as soon as another one has a place. Whoever cancels
    it leaves nothing behind."""
    await session.on_draining.wait()
    log.info("the worker stops in %.0f s", session.drain_seconds)
    while True:
        try:
            for worker in await in_thread(lambda: _others(held)):
                if elsewhere := await _prepare(worker, held, segments):
                    return elsewhere
        except DatabaseProblem as error:
            log.warning("not moved yet: %s", error)
        held.path.tape = None
        await asyncio.sleep(RETRY_SECONDS)


def _others(held: Held) -> list[Worker]:
    here = held.row.worker_name
    return [w for w in candidates(held.row.fingerprint, here) if w.name != here]


async def _prepare(
    worker: Worker, held: Held, segments: LogSegments
) -> Elsewhere | None:
    path, wanted, began = held.path, held.wanted, time.monotonic()
    end, path.tape = path.frame, []
    await held.recorder.flush()
    behind, kept = await in_thread(lambda: read_frame_log(held.row, segments, end))
    prepared = None
    try:
        prepared = await WorkerSession.prepare(
            worker.url, settings.WORKER_SECRET, wanted.open, wanted.prompt, log=behind
        )
        while len(path.tape) > NEARLY:
            await prepared.catch_up(from_tape(held))
    except PersonaplexError as error:
        log.info("not moved to %s: %s (%s)", worker.name, error.code, error)
        return None
    except BaseException:
        if prepared is not None:
            await prepared.close()
        raise
    log.info("%s is ready after %.1f s", worker.name, time.monotonic() - began)
    return Elsewhere(worker, prepared, kept)


def from_tape(held: Held) -> FrameLog:
    """What was said since it was last asked for."""
    tape, held.path.tape = held.path.tape or [], []
    if not tape:
        nothing = np.zeros((0, FRAME_SAMPLES), np.int16)
        return FrameLog(np.zeros((0, STREAMS), np.uint16), nothing)
    tokens, pcm = zip(*tape, strict=True)
    return FrameLog(np.stack(tokens).astype(np.uint16), np.stack(pcm))
