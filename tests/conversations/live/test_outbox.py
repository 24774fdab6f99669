"""What waits for a browser that is slow, and what is let go."""

import asyncio
import time

import pytest

from conversations.live import outbox as outbox_module
from conversations.live.outbox import NotReading, Outbox


@pytest.fixture
def sent():
    return []


@pytest.fixture
def outbox(sent):
    async def send(message):
        sent.append(message.get("text") or message["bytes"])

    return Outbox(send)


async def run_briefly(outbox):
    task = asyncio.create_task(outbox.run())
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_everything_goes_out_events_first(outbox, sent):
    outbox.put_frame(b"1")
    outbox.put_event("event")
    outbox.put_frame(b"2")
    await run_briefly(outbox)
    assert sent == ["event", b"1", b"2"]
    outbox.check(time.monotonic() + 60)


async def test_the_oldest_frames_go_when_too_many_wait(outbox, sent):
    for n in range(30):
        outbox.put_frame(bytes([n + 1]))
    await run_briefly(outbox)
    assert outbox.dropped == 5
    assert sent == [bytes([n + 1]) for n in range(5, 30)]


async def test_too_many_events_mean_that_the_client_reads_none(outbox):
    for _ in range(outbox_module.EVENTS):
        outbox.put_event("text")
    outbox.check(time.monotonic())
    outbox.put_event("text")
    with pytest.raises(NotReading):
        outbox.check(time.monotonic())


async def test_a_full_transport_holds_everything_back(outbox, sent):
    outbox.pause()
    outbox.put_frame(b"1")
    task = asyncio.create_task(outbox.run())
    await asyncio.sleep(0.02)
    assert sent == []
    outbox.check(time.monotonic() + 5)
    with pytest.raises(NotReading):
        outbox.check(time.monotonic() + 11)
    outbox.resume()
    await asyncio.sleep(0.02)
    assert sent == [b"1"]
    outbox.check(time.monotonic() + 60)
    task.cancel()
