"""A browser that comes back: what continues, what was kept, and who is refused.

Another LiveConversation is all that a conversation needs to continue, so one process
stands for two here; ``tests/e2e`` kills real ones.
"""

import asyncio
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.db.models import F

from conversations.errors import EndReason
from conversations.frame_log.format import (
    GAP,
    RESENT,
    unpack_timings,
    unpack_user_packets,
)
from conversations.frame_log.reader import FrameLogReader
from conversations.live import shutdown
from conversations.models import Conversation
from conversations.review.transcript import transcript
from inference.worker.client import WorkerSession
from tests.conversations.browser import PCM, Browser
from tests.conversations.echo_worker import EchoWorker
from tests.factories import PersonaFactory, WorkerFactory

pytestmark = pytest.mark.usefixtures("no_pace")


@sync_to_async
def in_database(work):
    return work()


def whole(chunks):
    """Timings and user packets of a log; its frames lie one behind the other."""
    rows = [c for c in chunks if c.frames]
    ends = [c.first_frame + c.frames for c in rows]
    assert [c.first_frame for c in rows] == [0, *ends[:-1]], "a gap in the log"
    timings = np.concatenate([unpack_timings(bytes(c.timings)) for c in rows])
    users = [u for c in chunks for u in unpack_user_packets(bytes(c.user_packets))]
    return timings, sorted(user.seq for user in users)


@pytest.fixture(autouse=True)
def small_chunks(settings):
    """Of 20 frames, 16 are written while the conversation is live."""
    settings.CHUNK_FRAMES = 8


async def talk(browser, the_conversation):
    """20 frames, and 16 in the log."""
    await browser.start()
    await browser.converse(20)
    async with asyncio.timeout(5):
        while len((await the_conversation())[1]) < 2:
            await asyncio.sleep(0.01)


async def gone(browser, code=1006):
    await browser.leave(code)
    async with asyncio.timeout(5):
        while shutdown._running:
            await asyncio.sleep(0.01)


async def test_a_dropped_socket_resumes_where_it_was(
    browser, new_browser, worker, the_conversation
):
    await browser.start(seed=5)
    await browser.converse(20)
    await gone(browser)
    parked, _ = await the_conversation()
    assert parked.parked_reason == "network_lost"
    assert [s.parked for s in worker.sessions.values()] == [True]

    again = await new_browser().resume(browser)
    ready = again.event("ready")
    await again.until_state("live")
    assert again.states() == ["resuming", "live"]
    assert ready["conversation"] == str(parked.pk)
    assert (ready["resumed"], ready["frame"], ready["next_seq"]) == (True, 20, 20)
    assert (ready["seed"], ready["resume_seconds"]) == (5, 30)
    assert ready["context_seconds"] == round((2897 - 20) * 0.08, 1)
    assert ready["resume"] != browser.event("ready")["resume"]
    await again.converse(10, first=40)  # the microphone ran on meanwhile
    assert [frame[3] for frame in again.frames] == list(range(40, 50))
    await again.send_json_to({"type": "end"})
    assert await again.until_closed() == 1000  # loads every view

    conversation, chunks = await the_conversation()
    timings, users = whole(chunks)
    answered = [*range(20), *range(40, 50)]
    assert timings["seq"].tolist() == users == answered
    assert timings["flags"][20] & GAP
    assert (np.diff(timings["received_ms"].astype(int)) >= 0).all()
    assert conversation.end_reason == "user_ended"
    assert (conversation.resumes, conversation.moves) == (1, 0)
    assert (conversation.frames, conversation.missing_frames) == (30, 20)
    assert [note["kind"] for note in conversation.events] == ["parked", "resumed"]
    assert conversation.events[1]["detail"] == "kept"
    assert len(worker.opened) == len(worker.attached) == 1
    await worker.until_free()


async def test_a_socket_that_still_lives_is_taken_over(
    browser, new_browser, worker, the_conversation
):
    """The browser saw its connection die, the site has not yet: frames that are not
    written come again from the worker, their packets from the lease before."""
    await talk(browser, the_conversation)
    again = await new_browser().resume(browser, have=13)
    assert again.event("ready")["frame"] == 16
    assert await browser.until_closed() == 4409
    assert browser.event("ended") is None
    await again.until_frame(19)
    # The log had the first, the worker the others; what was heard is not sent again.
    assert [frame[3] for frame in again.frames] == [*range(14, 20)]
    await again.converse(5, first=20)
    await again.send_json_to({"type": "end"})
    await again.until_closed()
    conversation, chunks = await the_conversation()
    timings, users = whole(chunks)
    assert timings["seq"].tolist() == users == list(range(25))
    assert (timings["flags"] & RESENT > 0).nonzero()[0].tolist() == [*range(16, 20)]
    assert (conversation.missing_frames, conversation.unwritten_frames) == (0, 0)
    assert conversation.end_reason == "user_ended"
    said = await in_database(lambda: transcript(FrameLogReader(conversation)))
    assert said[0]["text"].startswith("Hello are Hello are")


async def test_frames_that_were_under_way_are_answered_to_the_next(
    browser, new_browser, worker, the_conversation
):
    await browser.start()
    await browser.converse(3)
    live = next(iter(shutdown._running.values()))
    taken = live._state.path.answer
    live._state.path.answer = lambda result: None  # and is about to die
    for seq in (3, 4, 5):
        await browser.say(seq)
    await asyncio.sleep(0.2)
    live._state.path.answer = taken
    await gone(browser)
    again = await new_browser().resume(browser, have=2)
    await again.until_frame(5)
    assert [frame[3] for frame in again.frames] == [3, 4, 5]
    assert [e["piece"] for e in again.events if e["type"] == "text"] == [" are"]
    await again.leave()
    _, chunks = await the_conversation()
    timings, users = whole(chunks)
    assert timings["seq"].tolist() == users == [0, 1, 2, 3, 4, 5]


async def test_a_killed_web_process_costs_only_the_packets_that_it_alone_had(
    browser, new_browser, worker, the_conversation, monkeypatch
):
    await talk(browser, the_conversation)
    await kill_the_process(monkeypatch)
    again = await new_browser().resume(browser)
    assert again.event("ready")["next_seq"] == 16, "what the log knows of"
    await again.converse(5, first=23)
    await again.send_json_to({"type": "end"})
    await again.until_closed()
    conversation, chunks = await the_conversation()
    timings, users = whole(chunks)
    assert timings["seq"].tolist() == [*range(20), *range(23, 28)]
    assert users == [*range(16), *range(23, 28)]
    assert (timings["flags"] & RESENT > 0).sum() == 4
    assert conversation.missing_frames == 3
    times = await in_database(lambda: FrameLogReader(conversation).times)
    assert (times.first_seq, times.slots) == (0, 28)


async def kill_the_process(monkeypatch):
    """As kill -9 would: its sockets break, and it writes nothing more."""

    async def nothing(held, session, ending, browser):
        session._socket.transport.abort()

    with monkeypatch.context() as patch:
        patch.setattr("conversations.live.closing.close", nothing)
        for task, live in list(shutdown._running.items()):
            live.end(EndReason.SITE_ERROR)
            await task


async def test_web_and_worker_killed_at_once(
    browser, new_browser, worker, the_conversation, monkeypatch
):
    worker.pin_prompt = True
    await talk(browser, the_conversation)
    await kill_the_process(monkeypatch)
    worker.kill()
    async with EchoWorker() as other:
        await in_database(lambda: WorkerFactory(url=other.url, name="other"))
        again = await new_browser().resume(browser)
        await again.until_state("live")
        assert again.states() == ["resuming", "recovering", "live"]
        await again.converse(5, first=40)
        assert other.opened[0].pin_prompt is True
        assert other.sessions[again.event("ready")["conversation"]].memory == [
            *range(16),
            *range(40, 45),
        ]
        await again.leave()
    conversation, chunks = await the_conversation()
    timings, _ = whole(chunks)
    assert timings["seq"].tolist() == [*range(16), *range(40, 45)]
    assert conversation.worker_name == "other"
    assert (conversation.resumes, conversation.moves) == (1, 1)


async def test_a_page_that_closes_the_old_socket_too_late_ends_nothing(
    browser, new_browser, worker, the_conversation, monkeypatch
):
    """Nor does it take the slot from under the new one."""
    attach = WorkerSession.attach

    async def slowly(*args, **kwargs):
        await asyncio.sleep(0.3)
        return await attach(*args, **kwargs)

    monkeypatch.setattr(WorkerSession, "attach", slowly)
    await browser.start()
    await browser.converse(3)
    again = new_browser()
    await again.ask_to_resume(browser.event("ready"), have=2)
    await again.until("state")
    while not (await the_conversation())[0].resumes:
        await asyncio.sleep(0.01)
    await browser.leave(1000)
    await again.until("ready")
    await again.converse(3, first=3)
    assert "recovering" not in again.states()
    assert len(worker.opened) == 1
    await again.leave()
    conversation, chunks = await the_conversation()
    assert whole(chunks)[1] == list(range(6))
    assert conversation.end_reason == "user_left"


async def test_lost_frames_are_a_hole_that_is_marked(
    browser, new_browser, worker, the_conversation, monkeypatch
):
    """The process was killed with more unwritten frames than the worker keeps. The
    model continues with all of them; once it is rebuilt, it lacks those too."""
    await talk(browser, the_conversation)
    await kill_the_process(monkeypatch)
    [session] = worker.sessions.values()
    for _ in range(18):
        session.sent.popleft()
    again = await new_browser().resume(browser)
    await again.converse(5, first=20)
    assert session.memory == list(range(25))
    worker.kill()
    await again.until_state("recovering")
    worker.dead = False
    await again.until_state("live")
    [rebuilt] = worker.sessions.values()
    assert rebuilt.memory == [*range(16), *range(18, 25)]
    await again.converse(5, first=25)
    await again.leave()
    conversation, chunks = await the_conversation()
    rows = [c for c in chunks if c.frames]
    seqs = np.concatenate([unpack_timings(bytes(c.timings))["seq"] for c in rows])
    assert seqs.tolist() == [*range(16), *range(18, 30)]
    assert [c.first_frame + c.frames for c in rows][:2] == [8, 16]
    assert rows[2].first_frame == 18
    assert conversation.unwritten_frames == 2
    assert conversation.log_segments == [[0, 16], [18, None]]


async def test_who_was_taken_over_ends_nothing(
    browser, new_browser, worker, the_conversation
):
    """The person clicks "end" in a window that has lost the conversation unnoticed."""
    await browser.start()
    await browser.converse(3)
    lease = uuid4()
    await in_database(lambda: Conversation.objects.update(lease=lease))
    await browser.send_json_to({"type": "end"})
    assert await browser.until_closed() == 4409
    conversation, _ = await the_conversation()
    assert conversation.is_live
    assert conversation.lease == lease


async def refused(browser, ready):
    await browser.ask_to_resume(ready)
    code = await browser.until_closed()
    assert browser.event("error")["code"] == "resume_impossible"
    assert browser.event("ready") is None
    return code


async def test_an_unauthorised_resume_is_refused_and_changes_nothing(
    browser, new_browser, worker, cast, the_conversation
):
    _, bob, persona = cast
    await browser.start()
    await browser.converse(3)
    ready = browser.event("ready")
    assert await refused(new_browser(), {**ready, "resume": "guessed"}) == 4410
    other = {**ready, "conversation": str(persona.pk)}
    assert await refused(new_browser(), other) == 4410
    stranger = Browser(persona.pk, bob)
    await stranger.ask_to_resume(ready)
    assert await stranger.until_closed() == 4404
    own = await in_database(lambda: PersonaFactory(owner=bob))
    assert await refused(Browser(own.pk, bob), ready) == 4410
    await browser.converse(3, first=3)
    await browser.leave()
    conversation, _ = await the_conversation()
    assert (conversation.frames, conversation.resumes) == (6, 0)
    assert conversation.end_reason == "user_left"
    assert await refused(new_browser(), ready) == 4410, "it has ended"


async def test_a_token_is_used_up_once_its_conversation_is_heard(
    browser, new_browser, worker, monkeypatch, the_conversation
):
    """Until then it may be shown again: the socket that carried the next one may have
    broken."""
    monkeypatch.setattr("conversations.live.conversation.CONFIRM_SECONDS", 0.0)
    await browser.start()
    await browser.converse(3)
    await gone(browser)
    lost = await new_browser().resume(browser)
    await gone(lost)
    again = await new_browser().resume(browser)
    await again.converse(3, first=3)
    await asyncio.sleep(0.5)
    assert await refused(new_browser(), browser.event("ready")) == 4410
    assert await refused(new_browser(), lost.event("ready")) == 4410
    await again.converse(3, first=6)
    await again.leave()
    _, chunks = await the_conversation()
    assert whole(chunks)[1] == list(range(9))


async def test_of_two_with_the_same_token_one_holds_the_conversation(
    browser, new_browser, worker, the_conversation
):
    await browser.start()
    await browser.converse(3)
    await gone(browser)
    both = [new_browser(), new_browser()]
    for one in both:
        await one.ask_to_resume(browser.event("ready"))

    async def settled(one):
        with pytest.raises((AssertionError, TimeoutError)):
            async with asyncio.timeout(1.5):
                while one.close_code is None:
                    await one.take(1.5)
                raise AssertionError
        return one.close_code

    codes = await asyncio.gather(*map(settled, both))
    assert sorted(codes, key=str) == [4409, None]
    winner = both[codes.index(None)]
    await winner.converse(3, first=3)
    assert len(worker.sessions) == 1
    await winner.leave()
    _, chunks = await the_conversation()
    assert whole(chunks)[1] == list(range(6))


async def test_too_late_it_has_ended(browser, new_browser, worker, the_conversation):
    await browser.start()
    await browser.converse(3)
    await gone(browser)
    late = timedelta(seconds=31)
    await in_database(
        lambda: Conversation.objects.update(parked_at=F("parked_at") - late)
    )
    assert await refused(new_browser(), browser.event("ready")) == 4410
    conversation, _ = await the_conversation()
    assert conversation.end_reason == "network_lost"
    assert conversation.frames == 3


async def test_leaving_while_it_is_taken_up_parks_it_again(
    browser, new_browser, worker, the_conversation
):
    await browser.start()
    await browser.converse(3)
    await gone(browser)
    worker.kill()
    waiting = new_browser()
    await waiting.ask_to_resume(browser.event("ready"))
    await waiting.until("state")
    await waiting.until_state("recovering")
    await gone(waiting)
    conversation, _ = await the_conversation()
    assert conversation.parked_reason == "network_lost"
    worker.dead = False
    again = await new_browser().resume(browser)
    await again.converse(3, first=3)
    await again.leave()
    await worker.until_free()


async def test_without_webcodecs_it_is_the_same(browser, new_browser, worker):
    await browser.start(audio="pcm")
    await browser.converse(5, kind=PCM)
    await gone(browser)
    again = await new_browser().resume(browser, audio="pcm")
    await again.converse(5, first=5, kind=PCM)
    assert [frame[0] for frame in again.frames] == [PCM] * 5
    await again.leave()


async def test_an_absent_database_is_no_reason_to_give_up(
    browser, new_browser, worker, monkeypatch
):
    from django.db import OperationalError

    await browser.start()
    await gone(browser)

    def away(*args):
        raise OperationalError("the server is away")

    monkeypatch.setattr("conversations.live.opening.resume", away)
    refused = new_browser()
    await refused.ask_to_resume(browser.event("ready"))
    assert await refused.until_closed() == 4412
