"""How many conversations one person may have, parked ones too, and with whom."""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from conversations.models import Conversation
from tests.conversations.live.test_hostile import settled

pytestmark = pytest.mark.usefixtures("no_pace")


@sync_to_async
def reasons():
    rows = Conversation.objects.order_by("started_at")
    return [row.end_reason or row.parked_reason or "live" for row in rows]


@sync_to_async
def delete(persona):
    persona.delete_softly()


async def park(browser):
    await browser.leave(1006)
    await settled()


async def test_the_oldest_parked_one_makes_room(
    new_browser, worker, settings, the_conversation
):
    """Of a person whose browser crashed: its slot is free before the next is asked
    for."""
    settings.CONVERSATIONS_PER_USER = 2
    worker.places = 2
    crashed = [await new_browser().start() for _ in range(2)]
    await crashed[1].converse(2)
    for browser in crashed:
        await browser.leave(1006)
    await settled()
    assert len(worker.sessions) == 2
    third = await new_browser().start()
    assert "waiting" not in third.states()
    assert len(worker.sessions) == 2
    rows = [row async for row in Conversation.objects.order_by("started_at")]
    assert [row.is_live for row in rows] == [False, True, True]
    assert rows[0].end_reason == "network_lost"
    # That one is over; the newer one may still be taken up.
    late = new_browser()
    await late.ask_to_resume(crashed[0].event("ready"))
    assert await late.until_closed() == 4410
    again = await new_browser().resume(crashed[1])
    await again.converse(2, first=2)
    await again.leave()
    await third.leave()


async def test_live_ones_make_no_room(new_browser, worker, settings):
    settings.CONVERSATIONS_PER_USER = 1
    one = await new_browser().start()
    two = await new_browser().open()
    await two.send_json_to({"type": "start", "audio": "opus"})
    assert await two.until_closed() == 1000
    error = two.event("error")
    assert error["code"] == "too_many"
    assert error["text"].startswith("You may have one conversation open at a time")
    assert "under Conversations" in error["text"]
    await one.converse(2)
    await one.leave()


async def test_opening_and_breaking_off_takes_no_more_slots(
    new_browser, worker, settings
):
    settings.CONVERSATIONS_PER_USER = 2
    for _ in range(5):
        await park(await new_browser().start())
        assert len(worker.sessions) <= 2
    open_ones = Conversation.objects.filter(ended_at=None)
    assert await sync_to_async(open_ones.count)() == 2


async def test_a_persona_deleted_meanwhile_talks_on_and_can_be_resumed(
    new_browser, worker, cast
):
    browser = await new_browser().start()
    await browser.converse(3)
    await delete(cast[2])
    await browser.converse(3, first=3)
    await park(browser)
    again = await new_browser().resume(browser)
    await again.converse(3, first=6)
    await again.send_json_to({"type": "end"})
    assert await again.until_closed() == 1000
    await worker.until_free()
    assert await reasons() == ["user_ended"]
    over = new_browser()
    await over.open()
    assert await over.until_closed() == 4404


async def test_a_deleted_persona_begins_nothing_new(new_browser, worker, cast):
    browser = await new_browser().start()
    await delete(cast[2])
    other = await new_browser().open()
    await other.send_json_to({"type": "start", "audio": "opus"})
    assert await other.until_closed() == 4404
    assert len(worker.opened) == 1
    await browser.leave()


async def test_a_conversation_deleted_while_it_is_live_is_no_error(
    browser, worker, caplog
):
    """From another window, or with the account."""
    await browser.start()
    await browser.converse(3)
    await sync_to_async(Conversation.objects.all().delete)()
    async with asyncio.timeout(20):
        await browser.until_closed()
    await worker.until_free()
    assert not [r for r in caplog.records if r.levelname == "ERROR"]
