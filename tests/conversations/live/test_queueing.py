"""The line: who is let in when, who keeps a place, and who loses it."""

import asyncio
import signal
import uuid
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from conversations.live import queueing, shutdown
from conversations.models import Conversation, queue
from conversations.models.queue import AlreadyWaiting, QueueEntry
from inference.errors import WorkerBusy
from inference.models import Worker
from tests.conversations.browser import Browser
from tests.factories import (
    ConversationFactory,
    PersonaFactory,
    UserFactory,
    WorkerFactory,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(queueing, "LOOK_SECONDS", 0.03)
    monkeypatch.setattr(queueing, "LOOK_BEHIND_SECONDS", 0.03)


@sync_to_async
def in_database(work):
    return work()


async def sessions_are(count):
    """What the worker's heartbeat would say."""
    await in_database(lambda: Worker.objects.update(slots=1, sessions=count))


@pytest.fixture
async def full(worker, browser):
    """A worker of one slot, taken."""
    worker.places = 1
    await browser.start()
    await sessions_are(1)
    return browser


@pytest.fixture
async def people(full):
    """Browsers of three more people, each with a persona."""
    personas = await in_database(
        lambda: [PersonaFactory(owner=UserFactory()) for _ in range(3)]
    )
    return [Browser(persona.pk, persona.owner) for persona in personas]


async def ask(browser, **fields):
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus", **fields})


def another(browser):
    """Another window of the same person."""
    return Browser(browser.scope["path"].split("/")[3], browser.scope["user"])


def positions(browser):
    found = [e for e in browser.events if e["type"] == "waiting"]
    return [(event["position"], event["of"]) for event in found]


async def until_position(browser, *standing):
    async with asyncio.timeout(5):
        while standing not in positions(browser):
            await browser.take()


async def test_people_are_let_in_in_the_order_they_came(full, people, worker):
    for number, browser in enumerate(people, 1):
        await ask(browser)
        await until_position(browser, number, number)
    assert len(worker.opened) == 2  # the first's, and the second's that was refused
    await full.send_json_to({"type": "end"})
    await full.until_closed(timeout=20)
    await sessions_are(0)
    await people[0].until_state("live")
    assert people[0].states()[-3:] == ["waiting", "priming", "live"]
    await sessions_are(1)
    await until_position(people[1], 1, 2)
    await until_position(people[2], 2, 2)
    assert people[1].event("ready") is None
    for browser in people:
        await browser.leave()
    assert await in_database(QueueEntry.objects.count) == 0


async def test_who_leaves_gives_the_place_up(full, people):
    first, second, _ = people
    await ask(first)
    await until_position(first, 1, 1)
    await ask(second)
    await until_position(second, 2, 2)
    await first.send_json_to({"type": "leave"})
    await first.until_closed()
    await until_position(second, 1, 1)
    await second.leave()


async def test_a_place_outlives_its_web_process(full, people):
    first, second, _ = people
    await ask(first)
    await until_position(first, 1, 1)
    await ask(second)
    await until_position(second, 2, 2)
    await first.leave(1012)
    ticket = first.event("waiting")["ticket"]
    again = another(first)
    await ask(again, ticket=ticket)
    await until_position(again, 1, 2)
    for browser in (again, second):
        await browser.leave()


async def test_who_waits_comes_back_when_the_product_was_stopped(
    full, people, monkeypatch
):
    """Ctrl-C: conversations end, but a place in the line is none."""
    monkeypatch.setattr(queueing, "ASK_ANYWAY_SECONDS", 0.05)
    await ask(people[0])
    await until_position(people[0], 1, 1)
    monkeypatch.setattr(
        "conversations.live.shutdown._stopped_by", lambda: signal.SIGINT
    )
    await shutdown.release_all()
    assert await full.until_closed() == 1000
    assert await people[0].until_closed() == 4412
    monkeypatch.setattr("conversations.live.shutdown._stopped_by", lambda: None)
    again = another(people[0])
    await ask(again, ticket=people[0].event("waiting")["ticket"])
    await again.until("ready")
    await again.leave()


async def test_a_worker_that_is_being_started_is_waited_for(
    worker, browser, monkeypatch
):
    """It was killed a moment ago: its row still says that it is ready."""
    monkeypatch.setattr(queueing, "ASK_ANYWAY_SECONDS", 0.05)
    await in_database(lambda: Worker.objects.update(url="ws://127.0.0.1:1"))
    await ask(browser)
    await until_position(browser, 1, 1)
    await in_database(lambda: Worker.objects.update(ready=False))
    assert browser.event("error") is None
    await in_database(lambda: Worker.objects.update(url=worker.url, ready=True))
    await browser.until("ready")
    await browser.leave()


async def test_a_worker_that_never_comes_is_given_up(worker, browser, monkeypatch):
    monkeypatch.setattr(queueing, "ASK_ANYWAY_SECONDS", 0.05)
    monkeypatch.setattr(queueing, "NO_WORKER_SECONDS", 0.1)
    await in_database(lambda: Worker.objects.update(url="ws://127.0.0.1:1"))
    await ask(browser)
    assert await browser.until_closed() == 4503
    assert browser.event("error")["code"] == "no_worker"
    assert positions(browser)[0] == (1, 1)
    assert await in_database(QueueEntry.objects.count) == 0


async def test_a_second_window_is_refused(full, people):
    first = people[0]
    await ask(first)
    await until_position(first, 1, 1)
    other = another(first)
    await ask(other)
    assert await other.until_closed() == 1000
    assert other.event("error")["code"] == "already_waiting"
    await first.leave()


async def test_a_line_without_end_is_closed(full, people, settings):
    settings.QUEUE_PLACES = 1
    await ask(people[0])
    await until_position(people[0], 1, 1)
    await ask(people[1])
    assert await people[1].until_closed() == 4503
    assert "queue is closed" in people[1].event("error")["text"]
    await people[0].leave()


async def test_no_one_waits_for_ever(full, people, settings):
    settings.QUEUE_SECONDS = 0.1
    await ask(people[0])
    assert await people[0].until_closed() == 4503
    error = people[0].event("error")
    assert (error["code"], error["retry_after_s"] > 0) == ("worker_busy", True)
    assert await in_database(QueueEntry.objects.count) == 0


async def test_the_first_asks_though_no_heartbeat_came(full, people, monkeypatch):
    monkeypatch.setattr(queueing, "ASK_ANYWAY_SECONDS", 0.05)
    await ask(people[0])
    await until_position(people[0], 1, 1)
    await full.send_json_to({"type": "end"})
    await full.until_closed(timeout=20)  # and the worker stays "full"
    await people[0].until("ready")
    await people[0].leave()


@pytest.mark.django_db
def test_a_silent_entry_blocks_no_one_and_is_kept_for_a_while():
    WorkerFactory(slots=1, sessions=1)
    first = QueueEntry.join(UserFactory(), uuid.uuid4(), "")
    second = QueueEntry.join(UserFactory(), uuid.uuid4(), "")
    assert [first.refresh().number, second.refresh().number] == [1, 2]
    silent = timezone.now() - queue.ENTRY_SILENT - timedelta(seconds=1)
    QueueEntry.objects.filter(pk=first.pk).update(seen_at=silent)
    assert second.refresh().number == 1
    back = QueueEntry.join(first.owner, uuid.uuid4(), "")
    assert back.pk == first.pk
    assert [back.refresh().number, second.refresh().number] == [1, 2]
    with pytest.raises(AlreadyWaiting):
        first.refresh()
    QueueEntry.objects.update(seen_at=timezone.now() - queue.ENTRY_KEPT * 2)
    newer = QueueEntry.join(UserFactory(), uuid.uuid4(), "")
    assert list(QueueEntry.objects.all()) == [newer]


@pytest.mark.django_db
def test_newcomers_go_behind_those_who_wait():
    WorkerFactory(slots=2, sessions=1)
    assert queue.queue_is_free()
    QueueEntry.join(UserFactory(), uuid.uuid4(), "")
    assert not queue.queue_is_free()
    Worker.objects.update(sessions=0)
    assert queue.queue_is_free()


def conversations(now, lengths=(), ages=()):
    """Ended ones that took so long, and live ones that have lasted so long."""
    for seconds in lengths:
        ended = ConversationFactory(ended_at=now, end_reason="user_ended")
        ended.started_at = now - timedelta(seconds=seconds)
        ended.save()
    for age in ages:
        live = ConversationFactory(ended_at=None, end_reason="")
        live.started_at = now - timedelta(seconds=age)
        live.save()


@pytest.mark.django_db
def test_the_guess_follows_what_conversations_take():
    now = timezone.now()
    assert queue.seconds_until_free(0) is None, "nothing runs that could end"
    conversations(now, lengths=[100] * 3, ages=[90, 40])
    guesses = [queue.seconds_until_free(ahead) for ahead in range(4)]
    assert guesses == pytest.approx([10, 60, 110, 160], abs=2)


@pytest.mark.django_db
def test_there_is_no_guess_once_it_ran_out():
    """It stood at five seconds for minutes, for everybody in the queue."""
    conversations(timezone.now(), lengths=[20, 30, 40], ages=[200, 35])
    first, second, third = (queue.seconds_until_free(ahead) for ahead in range(3))
    assert first == pytest.approx(5, abs=1)
    assert second == pytest.approx(35, abs=1), "by who is let in next"
    assert third == pytest.approx(65, abs=1)
    Conversation.objects.filter(ended_at=None).update(
        started_at=timezone.now() - timedelta(seconds=41)
    )
    assert [queue.seconds_until_free(ahead) for ahead in range(3)] == [None] * 3


@pytest.mark.django_db
def test_who_is_further_back_never_waits_less():
    now = timezone.now()
    conversations(now, lengths=[5, 60, 61, 300, 1500], ages=[4, 59, 62, 299, 2000])
    guesses = [queue.seconds_until_free(ahead) for ahead in range(30)]
    assert guesses == sorted(guesses)
    assert len({*guesses}) > 20


@pytest.mark.django_db
def test_a_full_line_says_when_to_come_again(settings):
    settings.QUEUE_PLACES = 0
    with pytest.raises(WorkerBusy) as refused:
        QueueEntry.join(UserFactory(), uuid.uuid4(), "")
    assert refused.value.retry_after_s == 60
