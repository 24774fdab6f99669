"""Whatever a browser sends: a close code of its own, and no error in the log."""

import asyncio
import json
import logging
import struct
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from conversations.live import shutdown, wire
from conversations.models import Conversation

HALF = "\\ud800"  # of a surrogate pair, as JSON writes it
MANY_DIGITS = "9" * 4_500
START = '{"type":"start","audio":"opus"'


def resume(**fields):
    usual = {"conversation": str(uuid4()), "token": "t" * 43, "have": -1}
    event = {"type": "start", "audio": "opus", "resume": {**usual, **fields}}
    return json.dumps(event).replace('"HALF"', f'"{HALF}"')


STARTS = [
    resume(token="HALF"),
    resume(conversation="HALF"),
    resume(token="\0"),
    resume(token="x" * 2_000),
    resume(token=None),
    resume(conversation="no uuid"),
    resume(conversation=["a"]),
    resume(have=True),
    resume(have=1.5),
    resume(have=-2),
    resume(have=2**40),
    resume(have=10**30),
    START + ',"resume":[]}',
    START + ',"resume":"x"}',
    START + f',"ticket":"{HALF}"}}',
    START + ',"ticket":5}',
    START + ',"ticket":"' + "t" * 2_000 + '"}',
    START + ',"sampling":"hot"}',
    START + ',"sampling":{"seed":1e400}}',
    START + ',"sampling":{"seed":' + MANY_DIGITS + "}}",
    START + f',"sampling":{{"{HALF}":1}}}}',
    START + ',"sampling":{"greedy":{"a":{"b":{"c":1}}}}}',
    f'{{"type":"start","audio":"{HALF}"}}',
]
EVENTS = [
    "",
    "{",
    "null",
    "5",
    '"end"',
    "[]",
    "[" * 8_000,
    '{"a":' * 1_300,
    '{"type":' + "[" * 500 + "]" * 500 + "}",
    '{"type":["end"]}',
    '{"type":{"type":"end"}}',
    '{"type":null}',
    f'{{"type":"{HALF}"}}',
    f'{{"{HALF}":1,"type":"stats"}}',
    f'{{"type":"stats","latency_ms":"{HALF}"}}',
    '{"type":"stats","latency_ms":NaN}',
    '{"type":"stats","latency_ms":-Infinity}',
    '{"type":"stats","latency_ms":1e999}',
    '{"type":"stats","latency_ms":' + MANY_DIGITS + "}",
    '{"type":"stats","latency_ms":' + "9" * 400 + "}",
    '{"type":"rewind"}',
    '{"type":"rewind","seconds":null}',
    '{"type":"rewind","seconds":true}',
    '{"type":"rewind","seconds":"1"}',
    '{"type":"rewind","seconds":NaN}',
    '{"type":"rewind","seconds":1e999}',
    '{"type":"rewind","seconds":' + "9" * 4_000 + "}",
    '{"type":"start","audio":"opus"}{"type":"end"}',
]
FRAMES = [
    b"",
    b"\1",
    bytes(8),
    struct.pack("<BBHI", 9, 0, 0, 0) + b"x",
    struct.pack("<BBHI", 1, 255, 65535, 2**32 - 1) + b"\xff" * 40,
    struct.pack("<BBHI", 1, 0, 0, 0) + bytes(8_000),
    struct.pack("<BBHI", 2, 0, 0, 0) + b"x",
]


@pytest.fixture
def no_errors(caplog):
    caplog.set_level(logging.WARNING)
    yield
    bad = [r for r in caplog.records if r.levelno >= logging.ERROR or r.exc_info]
    assert not bad, [record.getMessage() for record in bad]


async def settled():
    async with asyncio.timeout(15):
        while shutdown._running:
            await asyncio.sleep(0.01)


async def send(browser, message):
    kind = "bytes" if isinstance(message, bytes) else "text"
    await browser.send_input({"type": "websocket.receive", kind: message})


async def test_before_the_start(new_browser, cast, no_errors):
    for message in STARTS + EVENTS + FRAMES:
        browser = await new_browser().open()
        await send(browser, message)
        assert await browser.until_closed() == wire.MALFORMED, message
        await browser.leave(wire.MALFORMED)


async def test_in_mid_conversation(new_browser, worker, no_errors):
    """All of them, each in a conversation of its own."""
    for message in EVENTS + FRAMES:
        browser = await new_browser().start()
        await send(browser, message)
        assert await browser.until_closed() in (wire.MALFORMED, wire.TOO_FAST), message
        await browser.leave(1006)
        await settled()
    await worker.until_free()
    rows = Conversation.objects.values_list("end_reason", flat=True)
    assert await sync_to_async(set)(rows) == {"protocol"}


def test_what_an_event_may_hold():
    text = "é\\u00e9\\ud83d\\ude00"
    event = wire.parse_event(f'{{"type":"stats","a":[1,2.5,true,null],"b":"{text}"}}')
    assert event.fields["b"] == "éé😀"


async def test_rewinds_of_a_browser_that_does_not_read(
    browser, worker, no_errors, monkeypatch
):
    """Each is answered, and the answers are not taken: as if its network had broken."""
    await browser.start()
    live = next(iter(shutdown._running.values()))
    live._browser.outbox.pause()  # as the transport does when it is full
    for _ in range(300):
        await browser.send_json_to({"type": "say_again"})
    assert await browser.until_closed() == wire.COME_BACK
    await browser.leave(1006)
    await settled()
    row = await sync_to_async(Conversation.objects.get)()
    assert row.parked_reason == "network_lost"
    assert [session.parked for session in worker.sessions.values()] == [True]
