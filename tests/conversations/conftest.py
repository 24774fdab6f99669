"""A worker, a browser, and rows that the recorder's threads can see."""

import threading

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections

from conversations.models import Conversation
from conversations.threads import THREADS
from tests.conversations.browser import Browser
from tests.conversations.echo_worker import EchoWorker
from tests.factories import PersonaFactory, UserFactory, WorkerFactory


@pytest.fixture(autouse=True)
def _no_connections_left():
    """Threads keep their connections for 60 s; the test database has to be dropped."""
    yield
    count = len(THREADS._threads)
    if count:
        together = threading.Barrier(count)

        def close():
            together.wait(5)
            connections.close_all()

        for done in [THREADS.submit(close) for _ in range(count)]:
            done.result()
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(autouse=True)
def no_broker(settings, monkeypatch):
    """What would be sent to Celery, instead of sending it."""
    sent = []
    monkeypatch.setattr(
        "celery.app.base.Celery.send_task",
        lambda self, name, args=(), **options: sent.append((name, list(args))),
    )
    return sent


@pytest.fixture
def cast(transactional_db):
    """Alice with a persona and Bob without, committed."""
    alice = UserFactory(username="alice")
    return alice, UserFactory(username="bob"), PersonaFactory(owner=alice, name="Ada")


@pytest.fixture
async def worker(cast):
    async with EchoWorker() as worker:
        await _register(worker)
        yield worker


async def _register(worker, **fields):
    make = sync_to_async(WorkerFactory, thread_sensitive=True)
    return await make(url=worker.url, **fields)


@pytest.fixture
def new_browser(cast):
    """A browser, or another one, of alice."""
    alice, _, persona = cast
    return lambda: Browser(persona.pk, alice)


@pytest.fixture
def browser(new_browser):
    return new_browser()


@pytest.fixture
def the_conversation():
    """Reads the only conversation, from the event loop."""

    @sync_to_async(thread_sensitive=True)
    def read():
        conversation = Conversation.objects.get()
        return conversation, list(conversation.chunks.all())

    return read


@pytest.fixture
def no_pace(monkeypatch):
    """Seconds of speech may come in an instant: not what the test is about."""
    monkeypatch.setattr("conversations.live.frame_pace.FramePace.BURST_FRAMES", 500)
