"""Whatever a conversation is in the middle of: once it has ended its slot is free.

With real workers (an engine that echoes): what matters is what they keep.
"""

import asyncio
import json
import signal
import time

import pytest
from asgiref.sync import sync_to_async

from conversations.live import shutdown
from conversations.models import Conversation, QueueEntry
from inference.models import Worker
from tests.conversations.browser import Browser
from tests.factories import PersonaFactory, WorkerFactory
from tests.inference.echo_engine import EchoEngine
from tests.inference.worker.conftest import SECRET, running

pytestmark = pytest.mark.usefixtures("no_pace")


class PatientEngine(EchoEngine):
    """Primes nothing further while it is ``stuck``, and serves the others meanwhile."""

    stuck = False

    def prime(self, slot):
        if self.stuck:
            time.sleep(0.005)
            return self.rows[slot]
        return super().prime(slot)


@pytest.fixture
async def rigs(cast, settings):
    """Two workers, of which the site knows the first."""
    settings.WORKER_SECRET = SECRET
    engines = [PatientEngine(slots=1), PatientEngine(slots=1)]
    async with running(engines[0]) as one, running(engines[1]) as two:
        await register(one, "one")
        yield one, two


async def register(rig, name):
    make = sync_to_async(WorkerFactory)
    await make(url=rig.url, name=name, fingerprint="f" * 64, slots=1)


def find_at(url):
    return Worker.objects.filter(name="one").update(url=url)


class Scene:
    def __init__(self, rigs, new_browser, persona, monkeypatch):
        self.rigs, self.new_browser = rigs, new_browser
        self.persona, self.monkeypatch = persona, monkeypatch
        self.engine = rigs[0].engine

    def stick(self):
        for rig in self.rigs:
            rig.engine.stuck = True

    async def live(self):
        browser = await self.new_browser().start()
        await browser.converse(20)
        return browser

    async def opening(self):
        self.stick()
        browser = await self.new_browser().open()
        await browser.send_json_to({"type": "start", "audio": "opus"})
        await browser.until_state("priming")
        await self.rigs[0].until(lambda: len(self.rigs[0].server.sessions))
        return browser

    async def waiting(self):
        """Behind somebody whose conversation ends in the end, too."""
        owner = self.persona.owner
        bob = await sync_to_async(PersonaFactory)(name="Bert")
        assert bob.owner != owner
        self.other = await Browser(bob.pk, bob.owner).start()
        browser = await self.new_browser().open()
        await browser.send_json_to({"type": "start", "audio": "opus"})
        await browser.until("waiting")
        return browser

    async def rewinding(self):
        browser = await self.live()
        self.stick()
        await browser.send_json_to({"type": "rewind", "seconds": 1})
        await browser.until_state("recovering")
        return browser

    async def recovering(self):
        """The worker can't be reached for a moment, and has kept the session."""
        browser = await self.live()
        await sync_to_async(find_at)("ws://127.0.0.1:1")
        [socket] = self.rigs[0].server._sockets
        socket.connection.transport.abort()
        await browser.until_state("recovering")
        self.stick()
        await sync_to_async(find_at)(self.rigs[0].url)
        return browser

    async def resuming(self):
        before = await self.live()
        await before.leave(1006)

        async def never(*args):
            await asyncio.Event().wait()

        self.monkeypatch.setattr("conversations.live.worker_connection.attach", never)
        browser = self.new_browser()
        await browser.ask_to_resume(before.event("ready"))
        await browser.until_state("resuming")
        return browser

    async def moving(self):
        """The first worker drains, and the second one does not get ready."""
        browser = await self.live()
        self.stick()
        await register(self.rigs[1], "two")
        self.rigs[0].server.drain()
        await self.rigs[1].until(lambda: len(self.rigs[1].server.sessions))
        return browser


TRANSITIONS = [
    "opening",
    "waiting",
    "live",
    "rewinding",
    "recovering",
    "resuming",
    "moving",
]


@pytest.fixture
def scene(rigs, new_browser, cast, monkeypatch):
    return Scene(rigs, new_browser, cast[2], monkeypatch)


async def by_the_user(browser, monkeypatch):
    await browser.send_json_to({"type": "end"})
    await browser.until_closed()


async def by_closing_the_page(browser, monkeypatch):
    await browser.leave(1001)


async def by_nonsense(browser, monkeypatch):
    await browser.send_to(text_data=json.dumps({"type": "dance"}))
    assert await browser.until_closed() == 4400


async def by_the_flood_limit(browser, monkeypatch):
    await browser.leave(4429)  # what the server's protocol tells the consumer


async def by_stopping_the_product(browser, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("conversations.live.shutdown._stopped_by", lambda: signal.SIGINT)
        for live in shutdown._running.values():
            shutdown.release(live)
        await browser.until_closed()


ENDINGS = [
    by_the_user,
    by_closing_the_page,
    by_nonsense,
    by_the_flood_limit,
    by_stopping_the_product,
]


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("transition", TRANSITIONS)
async def test_an_ending_frees_the_slot_at_once(scene, transition, end, monkeypatch):
    browser = await getattr(scene, transition)()
    await end(browser, monkeypatch)
    if transition == "waiting":
        await by_the_user(scene.other, monkeypatch)
    async with asyncio.timeout(15):  # half of what a parked one would be kept for
        while shutdown._running or any(len(r.server.sessions) for r in scene.rigs):
            await asyncio.sleep(0.01)
    for rig in scene.rigs:
        await rig.until_free()
    kept = transition == "waiting" and end is by_stopping_the_product
    assert await sync_to_async(QueueEntry.objects.exists)() == kept
    open_ones = Conversation.objects.filter(ended_at=None)
    assert not await sync_to_async(open_ones.exists)()


@pytest.mark.parametrize("transition", ["live", "recovering", "resuming"])
async def test_a_broken_network_keeps_it(scene, transition, monkeypatch):
    """What was being found again is still there; it is not ended for good measure."""
    browser = await getattr(scene, transition)()
    if transition == "recovering":
        scene.engine.stuck = False
        await browser.until_state("live")
    await browser.leave(1006)
    async with asyncio.timeout(15):
        while shutdown._running:
            await asyncio.sleep(0.01)
    await scene.rigs[0].until(lambda: scene.rigs[0].server.sessions.parked == 1)
    row = await sync_to_async(Conversation.objects.get)()
    assert row.parked_reason == "network_lost"
