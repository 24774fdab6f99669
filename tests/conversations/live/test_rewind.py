"""Going back in a live conversation: what the model forgets, and what the log keeps."""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from conversations.frame_log.reader import FrameLogReader
from conversations.frame_log.segments import LogSegments
from conversations.models import Conversation
from conversations.review.transcript import transcript
from tests.conversations.live.test_failover import memory, until
from tests.conversations.live.test_resume import whole

pytestmark = pytest.mark.usefixtures("no_pace")


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("conversations.live.rewind.INTERVAL", 0.0)


async def rewound(browser, event):
    seen = sum(e["type"] == "rewound" for e in browser.events)
    await browser.send_json_to(event)
    async with asyncio.timeout(5):
        while sum(e["type"] == "rewound" for e in browser.events) == seen:
            assert browser.close_code is None, browser.events
            await browser.take()
    return [e for e in browser.events if e["type"] == "rewound"][-1]


async def test_it_continues_from_where_it_was(browser, worker, the_conversation):
    await browser.start(seed=4)
    await browser.converse(20)
    event = await rewound(browser, {"type": "rewind", "seconds": 1})
    assert event == {
        "type": "rewound",
        "frame": 20,
        "seconds": 0.96,  # twelve frames
        "context_seconds": round((2897 - 8) * 0.08, 1),
    }
    await browser.until_state("live")
    assert browser.states()[-2:] == ["recovering", "live"]
    assert memory(worker) == list(range(8))
    assert worker.opened[1].sampling == worker.opened[0].sampling
    [log] = worker.logs
    assert (len(log.tokens), len(log.user_pcm)) == (8, 8)
    await browser.converse(4, first=20)
    # Once more, into what was said after the first time and beyond it.
    event = await rewound(browser, {"type": "rewind", "seconds": 1})
    assert memory(worker) == []
    await browser.converse(3, first=24)
    await browser.leave()

    conversation, chunks = await the_conversation()
    timings, users = whole(chunks)
    assert timings["seq"].tolist() == users == list(range(27)), "all of it is kept"
    assert conversation.log_segments == [[24, None]]
    kinds = [(n["kind"], n["frame"], n["detail"]) for n in conversation.events]
    assert kinds == [("rewound", 20, "0.96 s"), ("rewound", 24, "0.96 s")]
    stretches = await sync_to_async(transcript)(FrameLogReader(conversation))
    assert [s["start_s"] for s in stretches] == [0.08, 1.76, 2.0]


async def test_a_rewound_conversation_is_rebuilt_and_resumed_as_it_stands(
    browser, new_browser, worker, the_conversation
):
    await browser.start()
    await browser.converse(20)
    await rewound(browser, {"type": "rewind", "seconds": 1})
    await browser.converse(3, first=20)
    worker.kill()
    await browser.until_state("recovering")
    worker.dead = False
    await browser.until_state("live")
    assert memory(worker) == [*range(8), 20, 21, 22]
    await browser.converse(2, first=23)
    await browser.leave(1006)
    await until(lambda: all(s.parked for s in worker.sessions.values()))
    again = await new_browser().resume(browser)
    assert worker.attached[-1].have == 13
    assert again.event("ready")["frame"] == 25
    await again.converse(2, first=25)
    assert memory(worker) == [*range(8), *range(20, 27)]
    await again.leave()
    conversation, chunks = await the_conversation()
    assert whole(chunks)[0]["seq"].tolist() == list(range(27))
    assert conversation.log_segments == [[0, 8], [20, None]]


async def test_it_says_its_latest_turn_again(browser, worker):
    """Text comes with every third of the worker's frames: two turns by a pause."""
    pieces = {2, 4, 6, 30, 32, 35}

    def speak(result):
        piece = " word" if result.seq in pieces else ""
        return type(result)(**{**vars(result), "piece": piece})

    worker.mistake = speak
    await browser.start()
    await browser.send_json_to({"type": "say_again"})
    await browser.until("notice")
    assert browser.event("notice")["code"] == "nothing_said"
    await browser.converse(20)
    await asyncio.sleep(1.0)
    await browser.converse(18, first=20)
    event = await rewound(browser, {"type": "say_again"})
    assert memory(worker) == list(range(28))  # two frames before its first word
    assert event["seconds"] == 0.8
    await browser.leave()


async def test_without_the_database_it_continues_unchanged(
    browser, worker, monkeypatch, the_conversation
):
    from django.db import OperationalError

    monkeypatch.setattr("conversations.live.rewind.FLUSH_SECONDS", 0.2)
    await browser.start()
    await browser.converse(5)
    append = Conversation.append

    def away(self, *args, **kwargs):
        raise OperationalError("the server is away")

    monkeypatch.setattr(Conversation, "append", away)
    await browser.send_json_to({"type": "rewind", "seconds": 1})
    await browser.until("notice")
    assert browser.event("notice")["code"] == "rewind_impossible"
    monkeypatch.setattr(Conversation, "append", append)
    await browser.converse(3, first=5)
    assert memory(worker) == list(range(8))
    await browser.leave()
    _, chunks = await the_conversation()
    assert whole(chunks)[0]["seq"].tolist() == list(range(8))


async def test_too_many_at_once_are_refused(browser, worker, monkeypatch):
    monkeypatch.setattr("conversations.live.rewind.INTERVAL", 5.0)
    await browser.start()
    await browser.converse(15)
    for _ in range(2):
        await browser.send_json_to({"type": "rewind", "seconds": 1})
    await browser.until("rewound")
    assert browser.event("notice")["code"] == "busy"
    await browser.leave()


def test_the_two_counts_of_frames_meet():
    segments = LogSegments()
    assert segments.model_frame(100) == 100
    segments = segments.rewound_to(60, 100)
    assert segments.dump() == [[0, 60], [100, None]]
    assert segments.model_frame(100) == 60
    assert segments.model_frame(130) == 90
    segments = segments.rewound_to(80, 130)
    assert segments.until(140) == ((0, 60), (100, 120), (130, 140))
    assert segments.rewound_to(30, 140).dump() == [[0, 30], [140, None]]
    assert segments.rewound_to(0, 140).dump() == [[140, None]]
    assert LogSegments.parse(segments.dump()) == segments
    assert LogSegments.parse([]) == LogSegments()


def test_a_hole_is_left_out_of_both_counts():
    segments = LogSegments.of_frames([0, 1, 2, 5, 6], 7)
    assert segments.dump() == [[0, 3], [5, None]]
    assert segments.model_frame(7) == 5
    assert LogSegments.of_frames([0, 1], 4).dump() == [[0, 2], [4, None]]
    assert LogSegments.of_frames([], 4).dump() == [[4, None]]
