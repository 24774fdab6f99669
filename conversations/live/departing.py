"""What a holder does last: writes what there is, and tells worker and browser.

Owns the order of that, for each way to leave. Which way it is, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from django.db.utils import Error as DatabaseProblem

from conversations.errors import EndReason, Superseded
from conversations.live import wire
from conversations.live.browser import BrowserSide
from conversations.live.ending import Ending, Leaving, insist
from conversations.live.recovery import release
from conversations.live.state import Held
from conversations.models import Conversation
from conversations.threads import in_thread
from inference.worker.client import WorkerSession

log = logging.getLogger(__name__)

HOLDER_SECONDS = 2.0  # that the database has to say whose a conversation is


async def depart(
    held: Held, session: WorkerSession | None, ending: Ending, browser: BrowserSide
) -> None:
    ends = ending.how == Leaving.END
    goodbye: asyncio.Task[None] | None = None
    if ends:
        goodbye = asyncio.create_task(_free(held.row, session))
    elif session is not None:
        goodbye = asyncio.create_task(session.park())
    try:
        if ends:
            await _finish(held, ending, browser)
        elif ending.how == Leaving.PARK:
            await _park(held, ending, browser)
        else:
            raise Superseded(ending.detail)
    except Superseded as error:
        log.info("held by someone else: %s", error)
        await held.recorder.hand_over()
        await browser.close(wire.TAKEN_OVER)
    if goodbye is not None:
        await asyncio.gather(goodbye, return_exceptions=True)


async def _free(row: Conversation, session: WorkerSession | None) -> None:
    """The slot, unless somebody else has the conversation by now: a page may close the
    socket that it gave up long after it came back. Without a session its worker may
    have kept one: the way to it had broken, or was just being found again."""
    try:
        async with asyncio.timeout(HOLDER_SECONDS):
            await in_thread(row.check_holder)
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


async def _finish(held: Held, ending: Ending, browser: BrowserSide) -> None:
    if ending.close_code != wire.ENDED:
        await browser.close(ending.close_code)
    await held.recorder.close()
    row, reason = held.row, ending.reason
    counts = {"missing_frames": held.path.missing, **_unwritten(held)}
    if not await insist(lambda: row.finish(reason, **counts), f"the end {reason}"):
        await _check_holder(row)
    _log("ended", held, ending, browser)
    await browser.event(
        "ended",
        reason=reason,
        text=EndReason(reason).label,
        # In a fresh process this loads every view: seconds, but not of the loop.
        url=await in_thread(row.get_absolute_url),
    )
    await browser.close(wire.ENDED)
    await in_thread(row.ask_for_analysis)


async def _park(held: Held, ending: Ending, browser: BrowserSide) -> None:
    """Told to come back only once it can: everything is in the database then."""
    held.note("parked", detail=ending.reason)
    await held.recorder.close()
    row, reason = held.row, ending.reason
    counts = _unwritten(held)
    if not await insist(lambda: row.park(reason, **counts), f"parking for {reason}"):
        await _check_holder(row)
    _log("parked", held, ending, browser)
    await browser.close(ending.close_code)


async def _check_holder(row: Conversation) -> None:
    with suppress(DatabaseProblem):
        await in_thread(row.check_holder)


def _unwritten(held: Held) -> dict[str, int]:
    before = held.row.unwritten_frames
    return {"unwritten_frames": before + held.recorder.unwritten}


def _log(how: str, held: Held, ending: Ending, browser: BrowserSide) -> None:
    path, recorder = held.path, held.recorder
    log.info(
        "%s: %s %s frames=%d late=%d dropped=%d missing=%d unwritten=%d "
        "unsent=%d early=%d after=%d",
        *(how, ending.reason, ending.detail, path.frame, path.late, path.dropped),
        *(path.missing, recorder.unwritten, browser.outbox.dropped),
        *(browser.early, browser.after),
    )
