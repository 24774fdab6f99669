"""The web process itself: stopped, killed, and faced with a browser that won't read.

Daphne runs as its own process on the test database; the worker is the stand-in.
"""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.test import Client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from conversations.audio.opus import Encoder
from conversations.frame_log.format import unpack_timings
from conversations.models import Conversation
from tests.conversations.browser import HEADER, OPUS, tone
from tests.personaplex_site.front.servers import environment as environment_of


class Site:
    def __init__(self, process, port, cookie, persona):
        self.process = process
        self.origin = f"http://127.0.0.1:{port}"
        self.address = f"ws://127.0.0.1:{port}/ws/personas/{persona}/talk/"
        self.headers = {"Cookie": f"{django_settings.SESSION_COOKIE_NAME}={cookie}"}

    def open(self, **options):
        return connect(
            self.address,
            origin=self.origin,
            additional_headers=self.headers,
            compression=None,
            proxy=None,
            **options,
        )

    async def talk(self, browser, audio="opus", **fields):
        """Start, or take up with ``resume``; the ``ready`` event."""
        start = {"type": "start", "audio": audio, **fields}
        await browser.send(json.dumps(start))
        while (event := json.loads(await browser.recv()))["type"] != "ready":
            assert event["type"] != "error", event
        return event


@pytest.fixture
def environment():
    return environment_of(
        DJANGO_SETTINGS_MODULE="personaplex_site.settings",
        CONVERSATION_INACTIVITY_SECONDS="3",
    )


@pytest.fixture
def server():
    """Its arguments, up to the number of a listening socket."""
    daphne = ["-m", "personaplex_site.daphne_server", "--ping-interval", "5"]
    return [*daphne, "tests.conversations.stuck_asgi:application", "--fd"]


@pytest.fixture
async def new_site(cast, worker, environment, server):
    """Web processes on one database."""
    alice, _, persona = cast
    open_ones = []

    @sync_to_async
    def signed_in():
        client = Client()
        client.force_login(alice, "django.contrib.auth.backends.ModelBackend")
        return client.cookies[django_settings.SESSION_COOKIE_NAME].value

    async def begin():
        listener = socket.create_server(("127.0.0.1", 0))
        # Inherited by every connection: a browser that does not read is noticed by the
        # server after kilobytes, not after the megabytes that the kernel would buffer.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, *server, str(listener.fileno())],
            env=environment,
            pass_fds=[listener.fileno()],
        )
        open_ones.append((process, listener))
        return Site(process, port, await signed_in(), persona.pk)

    yield begin
    for process, listener in open_ones:
        process.kill()
        await asyncio.to_thread(process.wait)
        listener.close()


@pytest.fixture
async def site(new_site):
    return await new_site()


async def speak(browser, frames, pace=0.08, first=0):
    encoder = Encoder(32_000)
    for seq, pcm in enumerate(tone(frames), first):
        await browser.send(HEADER.pack(OPUS, 0, 0, seq) + encoder.encode(pcm))
        await asyncio.sleep(pace)


@sync_to_async
def the_only():
    return Conversation.objects.get()


@sync_to_async
def rows():
    conversation = Conversation.objects.get()
    seqs = [
        seq
        for c in conversation.chunks.all()
        for seq in unpack_timings(bytes(c.timings))["seq"].tolist()
    ]
    return conversation, seqs


async def ended(seconds=10):
    deadline = time.monotonic() + seconds
    while (conversation := await the_only()).is_live:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    return conversation


async def parked(seconds=10):
    deadline = time.monotonic() + seconds
    while not (conversation := await the_only()).parked_reason:
        assert conversation.is_live
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    return conversation.parked_reason


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 4412), (signal.SIGINT, 1000)]
)
async def test_a_stopped_web_process_leaves_its_conversations_in_order(
    site, worker, number, code
):
    """SIGTERM parks them, SIGINT ends them. Two: Daphne itself would only wait for the
    first. And for its threads, even where one never ends, as those of requests that it
    cancelled do."""
    async with site.open() as first, site.open() as second:
        await site.talk(first)
        await site.talk(second)
        await speak(first, 10)
        site.process.send_signal(number)
        await asyncio.to_thread(site.process.wait, 15)
        for browser in (first, second):
            with suppress(ConnectionClosed):
                while True:
                    await browser.recv()
            assert browser.close_code == code

    @sync_to_async
    def reasons():
        rows = Conversation.objects.order_by("started_at")
        return [
            (c.parked_reason, c.end_reason, sum(k.frames for k in c.chunks.all()))
            for c in rows
        ]

    left = ("shutdown", "") if number == signal.SIGTERM else ("", "shutdown")
    assert await reasons() == [(*left, 10), (*left, 0)]
    if number == signal.SIGTERM:
        assert len(worker.sessions) == 2
    else:
        await worker.until_free()


async def test_what_a_killed_web_process_left_continues_in_another(
    site, new_site, worker, capsys
):
    """kill -9. The packets that it alone had are missing, nothing else is."""
    async with site.open() as browser:
        ready = await site.talk(browser)
        await speak(browser, 40)
        site.process.kill()
        with suppress(ConnectionClosed):
            while True:
                await browser.recv()
    conversation, seqs = await rows()
    assert conversation.is_live
    assert 40 - len(seqs) <= 25
    other = await new_site()
    resume = {
        "conversation": ready["conversation"],
        "token": ready["resume"],
        "have": 39,
    }
    async with other.open() as browser:
        began = time.monotonic()
        again = await other.talk(browser, resume=resume)
        await speak(browser, 1, first=60)
        while isinstance(data := await browser.recv(), str):
            pass
        took = time.monotonic() - began
        assert HEADER.unpack_from(data)[3] == 60
        await speak(browser, 9, first=61)
        await browser.send(json.dumps({"type": "end"}))
        with suppress(ConnectionClosed):
            while True:
                await browser.recv()
    conversation, seqs = await rows()
    assert again["resumed"] is True
    assert seqs == [*range(40), *range(60, 70)]
    assert conversation.end_reason == "user_ended"
    assert conversation.missing_frames == 20
    await worker.until_free()
    with capsys.disabled():
        print(f"taken up by another process in {1000 * took:.0f} ms")  # noqa: T201


async def test_a_page_that_is_closed_is_a_user_who_left(site, worker):
    async with site.open() as browser:
        await site.talk(browser)
        await speak(browser, 5)
        await browser.close(1001)
    assert (await ended()).end_reason == "user_left"


async def test_a_connection_that_breaks_is_a_lost_network(site, worker):
    async with site.open() as browser:
        await site.talk(browser)
        await speak(browser, 5)
        browser.transport.abort()
    assert await parked() == "network_lost"


async def test_a_stranger_origin_is_refused(site):
    site.origin = "http://evil.example"
    with pytest.raises(Exception, match="403"):
        async with site.open():
            pass


def memory_mb(process):
    with open(f"/proc/{process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def dropped(process, host):
    """The server itself lets go of its last connection."""
    for _ in range(100):
        connections = psutil.Process(process.pid).net_connections("tcp4")
        local = [c for c in connections if c.laddr.port == int(host.split(":")[1])]
        if not [c for c in local if c.status == psutil.CONN_ESTABLISHED]:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the socket is still held")


async def test_a_browser_that_never_reads_is_cut_off(site, worker):
    """It speaks at real pace, PCM answers are 48 kB/s, and it takes nothing."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    host = site.address.split("/")[2]
    await asyncio.get_running_loop().sock_connect(
        raw, ("127.0.0.1", int(host.split(":")[1]))
    )
    async with site.open(sock=raw, ping_interval=None) as browser:
        await site.talk(browser, "pcm")
        browser.transport.pause_reading()
        before = memory_mb(site.process)
        silence = bytes(3_840)
        deadline = time.monotonic() + 60
        seq = 0
        while not (await the_only()).parked_reason and time.monotonic() < deadline:
            header = struct.pack("<BBHI", 2, 0, 0, seq)
            with suppress(TimeoutError, OSError, ConnectionClosed):
                async with asyncio.timeout(1):
                    await browser.send(header + silence)
            seq += 1
            await asyncio.sleep(0.08)
        grown = memory_mb(site.process) - before
        await dropped(site.process, host)
        browser.transport.abort()
    assert await parked() == "network_lost"
    assert seq < 300
    assert grown < 30
    print(f"{seq} frames until cut off, {grown:.1f} MB more")  # noqa: T201
