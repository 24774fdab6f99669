"""Places, the line before them, and who gets which."""

import asyncio

import pytest

from personaplex_site.front import gate
from personaplex_site.front.answers import Refusal
from personaplex_site.front.gate import Places


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_beyond_the_places_and_the_line_one_is_refused_and_counted():
    places = Places("pages", 1, waiting=1, seconds=60)
    first = await places.take()
    second = asyncio.create_task(places.take())
    await settled()
    with pytest.raises(Refusal) as refused:
        await places.take()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
    assert (places.taken, places.in_queue, places.refused.count) == (1, 1, 1)
    first.give()
    first.give()  # once is enough
    place = await second
    assert (places.taken, places.in_queue) == (1, 0)
    place.give()
    assert places.taken == 0


async def test_who_waits_too_long_is_refused():
    places = Places("pages", 1, waiting=1, seconds=0.01)
    await places.take()
    with pytest.raises(Refusal):
        await places.take()
    assert (places.taken, places.in_queue) == (1, 0)


async def test_who_leaves_the_line_takes_no_place_along():
    places = Places("pages", 1, waiting=3, seconds=60)
    first = await places.take()
    waiting = [asyncio.create_task(places.take()) for _ in range(3)]
    await settled()
    waiting[0].cancel()
    await settled()
    first.give()  # to the second, which goes in the same moment
    waiting[1].cancel()
    last = await waiting[2]
    assert (places.taken, places.in_queue) == (1, 0)
    last.give()
    assert places.taken == 0


async def test_one_person_does_not_get_all_places():
    places = Places("uploads", 2, waiting=4, seconds=60, each=1)
    hers = await places.take("alice")
    more = asyncio.create_task(places.take("alice"))
    await settled()
    assert not more.done()
    await places.take("bob")  # although alice waits before him
    hers.give()
    await more
    assert places.taken == 2


async def test_while_conversations_are_late_no_request_is_let_in(monkeypatch):
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.001)
    late = True
    places = Places("pages", 2, waiting=2, seconds=60, hold=lambda: late)
    waiting = asyncio.create_task(places.take())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    late = False
    await asyncio.wait_for(waiting, 10)


async def test_heartbeats_are_let_in_even_then(monkeypatch, settings):
    settings.MAX_LOOP_LAG_MS = -1
    the_gate = gate.Gate()
    assert the_gate.pages.take_now() is None
    assert the_gate.uploads.take_now("alice") is None
    assert the_gate.machines.take_now() is not None
