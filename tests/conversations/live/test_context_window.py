"""The end of the model's memory is announced, and is what the setting says."""

import pytest

from conversations.live import conversation
from conversations.live.client_stats import ClientStats

pytestmark = pytest.mark.usefixtures("no_pace")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(conversation, "WATCH_SECONDS", 0.02)


async def notices(browser, count):
    while True:
        found = [e for e in browser.events if e["type"] == "notice"]
        if len(found) >= count:
            return found
        await browser.take()


async def test_it_slides_and_says_so(browser, worker, the_conversation):
    worker.context_frames = 30
    await browser.start()
    ready = browser.event("ready")
    assert (ready["context_seconds"], ready["when_full"]) == (2.4, "slide")
    (low,) = await notices(browser, 1)
    assert (low["code"], low["seconds"]) == ("context_low", 2.4)
    await browser.converse(31)
    full = (await notices(browser, 2))[1]
    assert full["code"] == "context_full"
    await browser.converse(5, first=31)
    await browser.send_json_to({"type": "end"})
    await browser.until_closed(timeout=20)
    assert len(await notices(browser, 0)) == 2
    conversation, _ = await the_conversation()
    assert [note["kind"] for note in conversation.events] == ["context_full"]


async def test_the_pages_figures_are_kept_with_the_frames(
    browser, worker, the_conversation, monkeypatch
):
    monkeypatch.setattr("conversations.live.client_stats.EVERY_SECONDS", 0.0)
    await browser.start()
    await browser.converse(4)
    figures = {"type": "stats", "latency_ms": 211.456, "echo": 7, "muted": True}
    await browser.send_json_to({**figures, "buffer_ms": "wide", "late": -1, "x": 1})
    await browser.send_json_to({"type": "stats"})
    await browser.converse(4, first=4)
    await browser.send_json_to({"type": "end"})
    await browser.until_closed(timeout=20)
    _, chunks = await the_conversation()
    kept = [reading for chunk in chunks for reading in chunk.client_stats]
    assert kept == [[4, {"latency_ms": 211.46, "echo": 1, "late": 0, "muted": True}]]


def test_a_page_that_floods_is_not_kept_more_often():
    page = ClientStats()
    assert page.take({"late": 1}) == {"late": 1}
    assert page.take({"late": 2}) is None
    assert page.refused == 1
