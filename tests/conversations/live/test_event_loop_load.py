"""A web process that does not keep up admits no new conversation."""

import pytest
from asgiref.sync import sync_to_async

from conversations.live import event_loop_load, queueing
from conversations.live.event_loop_load import EventLoopLoad
from conversations.models.queue import QueueEntry
from inference.errors import WorkerBusy


@pytest.fixture
def process(monkeypatch, settings):
    settings.MAX_LOOP_LAG_MS, settings.MAX_LOOP_CPU_PERCENT = 20, 85
    fresh = EventLoopLoad()
    monkeypatch.setattr(event_loop_load, "PROCESS_LOAD", fresh)
    monkeypatch.setattr(queueing, "LOOK_SECONDS", 0.03)
    return fresh


def late(process, *ms):
    for each in ms:
        process.note(each / 1000)


def test_a_late_look_now_and_then_is_an_accident(process):
    process.check()
    late(process, 1, 2, 400, 3, 1, 2, 300, 2)
    process.check()
    late(process, *[40] * 20)
    with pytest.raises(WorkerBusy, match="40 ms late"):
        process.check()


def test_it_forgets_what_was(process, monkeypatch):
    late(process, *[90] * 20)
    now = event_loop_load.time.monotonic()
    monkeypatch.setattr(event_loop_load.time, "monotonic", lambda: now + 2.1)
    assert process.late_ms() == 0
    process.check()


def test_a_busy_loop_admits_no_one_before_it_is_late(process, monkeypatch):
    clock = {"monotonic": 100.0, "thread_time": 5.0}
    for name in clock:
        monkeypatch.setattr(event_loop_load.time, name, lambda name=name: clock[name])

    def talk(share):
        for _ in range(10):
            clock["monotonic"] += 0.2
            clock["thread_time"] += 0.2 * share
            process.note(0.001)

    talk(0.40)
    process.check()
    process.check()
    talk(0.80)
    process.check()
    with pytest.raises(WorkerBusy, match="80 % busy"):
        process.check()  # one by one
    talk(0.80)
    process.check()
    talk(0.90)
    with pytest.raises(WorkerBusy, match="90 % busy"):
        process.check()


async def test_a_newcomer_waits_until_the_others_are_heard_in_time(
    process, worker, browser
):
    late(process, *[90] * 20)
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    await browser.until_state("waiting")
    assert await sync_to_async(QueueEntry.objects.count)() == 1
    await browser.until("ready", timeout=10)  # no conversation is late any more
    assert not await sync_to_async(QueueEntry.objects.count)()
    await browser.leave()


async def test_who_comes_back_does_not_wait(process, worker, new_browser):
    browser = new_browser()
    await browser.start()
    await browser.converse(3)
    await browser.leave(1006)
    late(process, *[90] * 20)
    again = await new_browser().resume(browser)
    assert "waiting" not in again.states()
    await again.leave()
