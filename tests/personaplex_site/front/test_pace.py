"""Requests beyond a pace wait for their turn; beyond a number they are refused."""

import pytest

from personaplex_site.front import pace
from personaplex_site.front.answers import Refusal
from personaplex_site.front.pace import Pace


@pytest.fixture
def waits(settings, monkeypatch):
    """What requests waited, by a clock that stands still but for that."""
    settings.REQUESTS_PER_SECOND, settings.REQUESTS_BURST = 10, 3
    now, found = [1000.0], []

    async def sleep(seconds):
        found.append(round(seconds, 3))

    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace.asyncio, "sleep", sleep)
    found_at = now
    return found, found_at


async def test_after_a_burst_each_waits_for_its_turn(waits):
    found, now = waits
    turns = Pace()
    for _ in range(6):
        await turns.turn()
    assert found == [0.1, 0.2, 0.3]
    now[0] += 10
    for _ in range(4):
        await turns.turn()
    assert found[3:] == [0.1]


async def test_beyond_a_number_the_next_is_refused_and_takes_no_turn(
    waits, monkeypatch
):
    found, _ = waits
    turns = Pace()
    for _ in range(3):
        await turns.turn()
    monkeypatch.setattr(pace, "MAX_WAITING", 0)
    with pytest.raises(Refusal):
        await turns.turn()
    monkeypatch.setattr(pace, "MAX_WAITING", 1)
    await turns.turn()
    assert found == [0.1]
