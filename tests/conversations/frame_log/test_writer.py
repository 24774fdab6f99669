"""The frame log reaches the database, also when that is slow, away or comes back."""

import asyncio
import time
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.db import DataError, IntegrityError, OperationalError
from django.utils import timezone

from conversations.errors import ConversationGone, Superseded
from conversations.frame_log import writer as writer_module
from conversations.frame_log.format import (
    TIMING,
    UserPacket,
    unpack_timings,
    unpack_user_packets,
)
from conversations.frame_log.writer import FrameLogWriter
from conversations.models import Conversation, FrameChunk
from tests.factories import ConversationFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def conversation(transactional_db):
    return ConversationFactory(ended_at=None, end_reason="")


@pytest.fixture
def recorder(conversation, settings):
    settings.CHUNK_FRAMES = 5
    return FrameLogWriter(conversation)


@pytest.fixture
def database(monkeypatch):
    """A database that can be slow or away."""

    class Database:
        delay = 0.0
        error = None
        writes = 0

    state = Database()
    write = FrameLogWriter._write

    def slow_or_broken(self, chunk, changes):
        state.writes += 1
        time.sleep(state.delay)
        if state.error is not None:
            raise state.error
        write(self, chunk, changes)

    monkeypatch.setattr(FrameLogWriter, "_write", slow_or_broken)
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", (0.01,))
    return state


def feed(recorder, seqs, answered=True):
    for seq in seqs:
        recorder.add_user(UserPacket(seq, 0, b"user"))
        if answered:
            timing = (seq, *[0] * (len(TIMING) - 1))
            recorder.add_frame(np.zeros(17, np.uint16), "", b"agent", timing)


@sync_to_async
def chunks():
    return list(FrameChunk.objects.all())


def logged(rows):
    return [
        int(seq) for row in rows for seq in unpack_timings(bytes(row.timings))["seq"]
    ]


async def run_for(recorder, seconds):
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return task


async def run_until(recorder, reached):
    """Run until ``reached`` says so; an error after ten seconds."""
    task = asyncio.create_task(recorder.run())
    try:
        async with asyncio.timeout(10):
            while not await reached():
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def written(count):
    async def reached():
        return len(await chunks()) >= count

    return reached


async def test_whole_chunks_are_written_as_they_fill_and_the_rest_at_the_end(recorder):
    feed(recorder, range(12))
    await run_until(recorder, written(2))
    assert [chunk.frames for chunk in await chunks()] == [5, 5]
    await recorder.close()
    assert [(c.first_frame, c.frames) for c in await chunks()] == [
        (0, 5),
        (5, 5),
        (10, 2),
    ]
    assert logged(await chunks()) == list(range(12))


async def test_user_frames_that_were_never_answered_are_kept(recorder):
    feed(recorder, range(5))
    feed(recorder, range(5, 9), answered=False)
    await recorder.close()
    last = (await chunks())[-1]
    assert (last.first_frame, last.frames) == (5, 0)
    packets = unpack_user_packets(bytes(last.user_packets))
    assert [packet.seq for packet in packets] == [5, 6, 7, 8]


async def test_nothing_said_writes_nothing(recorder):
    await recorder.close()
    assert await chunks() == []


async def test_a_slow_database_never_holds_up_the_frames(recorder, database):
    database.delay = 0.3
    task = asyncio.create_task(recorder.run())
    began = time.perf_counter()
    longest = 0.0
    for seq in range(50):
        before = time.perf_counter()
        feed(recorder, [seq])
        longest = max(longest, time.perf_counter() - before)
        await asyncio.sleep(0.005)
    assert time.perf_counter() - began < 1.5
    assert longest < 0.05
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await recorder.close()
    assert logged(await chunks()) == list(range(50))


async def test_a_database_that_comes_back_has_everything(recorder, database):
    database.error = OperationalError("the server is away")
    feed(recorder, range(20))

    async def tried_again():
        return database.writes > 2

    await run_until(recorder, tried_again)
    assert await chunks() == []
    database.error = None
    await recorder.close()
    assert logged(await chunks()) == list(range(20))
    assert recorder.unwritten == 0


async def test_beyond_the_backlog_the_oldest_chunks_go_and_are_counted(
    recorder, database, monkeypatch
):
    monkeypatch.setattr(writer_module, "BACKLOG_CHUNKS", 3)
    database.error = OperationalError("the server is away")
    feed(recorder, range(40))
    assert recorder.unwritten == 25
    database.error = None
    await recorder.close()
    assert logged(await chunks()) == list(range(25, 40))


async def test_an_absent_database_is_not_waited_for_forever(
    recorder, database, monkeypatch
):
    monkeypatch.setattr(writer_module, "CLOSE_SECONDS", 0.1)
    database.error = OperationalError("the server is away")
    feed(recorder, range(7))
    await recorder.close()
    assert recorder.unwritten == 7


async def test_a_write_whose_answer_got_lost_is_no_conflict(recorder, monkeypatch):
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", (0.01,))
    append = Conversation.append
    answers = [OperationalError("connection reset")]

    def lost_once(self, chunk, **how):
        append(self, chunk, **how)
        if answers:
            raise answers.pop()

    monkeypatch.setattr(Conversation, "append", lost_once)
    feed(recorder, range(5))
    await recorder.close()
    assert logged(await chunks()) == list(range(5))
    assert recorder.unwritten == 0


async def test_a_write_that_was_under_way_when_all_was_cancelled_is_no_conflict(
    recorder, database
):
    database.delay = 0.2
    feed(recorder, range(5))
    await run_for(recorder, 0.05)  # the thread continues
    await recorder.close()
    assert database.writes == 2
    assert logged(await chunks()) == list(range(5))


async def test_two_chunks_of_the_same_frames_are_never_passed_over(
    recorder, conversation
):
    other = FrameLogWriter(conversation)
    feed(other, range(3))
    await other.close()
    feed(recorder, range(5))
    with pytest.raises(IntegrityError):
        await recorder.run()


async def test_what_can_never_be_written_is_an_error(recorder, database):
    database.error = DataError("value too long")
    feed(recorder, range(5))
    with pytest.raises(DataError):
        await recorder.run()


async def test_a_deleted_conversation_stops_the_recorder(recorder, conversation):
    await sync_to_async(Conversation.objects.all().delete)()
    feed(recorder, range(5))
    with pytest.raises(ConversationGone):
        await recorder.run()
    await recorder.close()


async def test_it_says_that_it_is_alive_while_nothing_is_written(
    recorder, conversation, monkeypatch
):
    monkeypatch.setattr(writer_module, "HEARTBEAT_SECONDS", 0.05)
    long_ago = timezone.now() - timedelta(minutes=1)
    await sync_to_async(Conversation.objects.all().update)(alive_at=long_ago)

    async def touched():
        await sync_to_async(conversation.refresh_from_db)()
        return conversation.alive_at > long_ago

    await run_until(recorder, touched)
    assert timezone.now() - conversation.alive_at < timedelta(seconds=15)


async def test_one_chunk_costs_two_queries(recorder, conversation):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    feed(recorder, range(5))
    chunk = recorder._backlog[0]

    def count():
        with CaptureQueriesContext(connection) as queries:
            recorder._write(chunk, {"moves": 1})
        return len([q for q in queries if "SAVEPOINT" not in q["sql"]])

    assert await sync_to_async(count)() <= 4  # BEGIN, UPDATE, INSERT, COMMIT


@sync_to_async
def taken_over(conversation):
    Conversation.objects.filter(pk=conversation.pk).update(lease=uuid4())


async def test_a_process_that_lost_the_lease_writes_no_frame_and_hands_over_packets(
    recorder, conversation
):
    feed(recorder, range(5))
    await run_until(recorder, written(1))
    await taken_over(conversation)
    feed(recorder, range(5, 12))
    feed(recorder, range(12, 14), answered=False)
    with pytest.raises(Superseded):
        await recorder.run()
    with pytest.raises(Superseded):
        await recorder.close()
    await recorder.hand_over()
    first, late = await chunks()
    assert (first.frames, late.frames) == (5, 0)
    packets = unpack_user_packets(bytes(late.user_packets))
    assert [packet.seq for packet in packets] == list(range(5, 14))


async def test_the_next_owner_continues_where_the_log_ends(recorder, conversation):
    """Also where only packets were written at the same place."""
    feed(recorder, range(5))
    feed(recorder, range(5, 8), answered=False)
    await recorder.close()
    after = FrameLogWriter(conversation, first_frame=5)
    feed(after, range(5, 11))
    await after.close()
    assert logged(await chunks()) == list(range(11))
    assert [c.first_frame for c in await chunks() if c.frames] == [0, 5, 10]


async def test_a_change_of_the_row_goes_with_the_next_write(recorder, conversation):
    task = asyncio.create_task(recorder.run())
    feed(recorder, range(3))
    recorder.change(log_segments=[[0, 1], [3, None]], moves=2)
    async with asyncio.timeout(2):
        await recorder.flush()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await sync_to_async(conversation.refresh_from_db)()
    assert (conversation.log_segments, conversation.moves) == ([[0, 1], [3, None]], 2)
    assert logged(await chunks()) == [0, 1, 2]


async def test_what_the_log_lacks_is_a_hole_that_is_counted(recorder):
    feed(recorder, range(2))
    recorder.skip(4)
    feed(recorder, range(2, 4))
    await recorder.close()
    assert [(c.first_frame, c.frames) for c in await chunks()] == [(0, 2), (6, 2)]
    assert recorder.unwritten == 4
