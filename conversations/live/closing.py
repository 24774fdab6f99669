"""The last that a process does with a conversation: it writes what there is, frees or
parks the session on the worker, and sends the browser the end.

In that order, for each way to leave; :mod:`conversations.live.ending` decides which.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from django.db.utils import Error as DatabaseProblem

from conversations.errors import EndReason, Superseded
from conversations.live import wire
from conversations.live.browser import BrowserSide
from conversations.live.ending import Ending, Leaving, write_with_retry
from conversations.live.recovery import release
from conversations.live.state import LiveState
from conversations.models import Conversation
from conversations.threads import in_thread
from inference.worker.client import WorkerSession

log = logging.getLogger(__name__)

LEASE_SECONDS = 2.0  # for the database to say whose lease it is


async def close(
    state: LiveState,
    session: WorkerSession | None,
    ending: Ending,
    browser: BrowserSide,
) -> None:
    ends = ending.how == Leaving.END
    goodbye: asyncio.Task[None] | None = None
    if ends:
        goodbye = asyncio.create_task(_free(state.row, session))
    elif session is not None:
        goodbye = asyncio.create_task(session.park())
    try:
        if ends:
            await _finish(state, ending, browser)
        elif ending.how == Leaving.PARK:
            await _park(state, ending, browser)
        else:
            raise Superseded(ending.detail)
    except Superseded as error:
        log.info("another process has the lease: %s", error)
        await state.log_writer.hand_over()
        await browser.close(wire.TAKEN_OVER)
    if goodbye is not None:
        await asyncio.gather(goodbye, return_exceptions=True)


async def _free(row: Conversation, session: WorkerSession | None) -> None:
    """Free the slot, unless another process has the conversation by now: a page may
    close a socket long after it came back by another one. Without a session here the
    worker may have kept one: the connection had broken, or was being made again."""
    try:
        async with asyncio.timeout(LEASE_SECONDS):
            await in_thread(row.check_lease)
    except Superseded:
        if session is not None:
            await session.park()
        return
    except (TimeoutError, DatabaseProblem) as error:
        log.warning("the slot is freed unasked: %r", error)
    if session is not None:
        await session.close()
    else:
        await release(row)


async def _finish(state: LiveState, ending: Ending, browser: BrowserSide) -> None:
    if ending.close_code != wire.ENDED:
        await browser.close(ending.close_code)
    await state.log_writer.close()
    row, reason = state.row, ending.reason
    counts = {"missing_frames": state.path.missing, **_unwritten(state)}
    if not await write_with_retry(
        lambda: row.finish(reason, **counts), f"the end {reason}"
    ):
        await _check_lease(row)
    _log("ended", state, ending, browser)
    await browser.send_event(
        "ended",
        reason=reason,
        text=EndReason(reason).text,
        # In a fresh process this loads every view: seconds, but not of the loop.
        url=await in_thread(row.get_absolute_url),
    )
    await browser.close(wire.ENDED)
    await in_thread(row.ask_for_analysis)


async def _park(state: LiveState, ending: Ending, browser: BrowserSide) -> None:
    """The browser is asked back only once everything is in the database."""
    state.record("parked", detail=ending.reason)
    await state.log_writer.close()
    row, reason = state.row, ending.reason
    counts = _unwritten(state)
    if not await write_with_retry(
        lambda: row.park(reason, **counts), f"parking for {reason}"
    ):
        await _check_lease(row)
    _log("parked", state, ending, browser)
    await browser.close(ending.close_code)


async def _check_lease(row: Conversation) -> None:
    with suppress(DatabaseProblem):
        await in_thread(row.check_lease)


def _unwritten(state: LiveState) -> dict[str, int]:
    before = state.row.unwritten_frames
    return {"unwritten_frames": before + state.log_writer.unwritten}


def _log(how: str, state: LiveState, ending: Ending, browser: BrowserSide) -> None:
    path, unwritten = state.path, state.log_writer.unwritten
    log.info(
        "%s: %s %s frames=%d late=%d dropped=%d missing=%d unwritten=%d "
        "unsent=%d early=%d after=%d",
        *(how, ending.reason, ending.detail, path.frame, path.late, path.dropped),
        *(path.missing, unwritten, browser.outbox.dropped),
        *(browser.early, browser.after),
    )
