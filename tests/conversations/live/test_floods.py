"""Clients that send too much, or what is no WebSocket, to a real server.

Each is cut off with its code, the memory stays where it was, others are served, and the
log has no error. The same for uvicorn in test_uvicorn_floods.py.
"""

import asyncio
import json
import os
import socket
import struct
from contextlib import suppress
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from conversations.models import Conversation
from tests.conversations.live.test_daphne import (  # noqa: F401
    environment,
    memory_mb,
    new_site,
    server,
    site,
    speak,
)

STATS = json.dumps({"type": "stats", "latency_ms": 80, "of": "x" * 900})
LARGE = json.dumps({"type": "stats", "list": ["y" * 900] * 8})


def frame(opcode, data=b"", fin=True):
    """As a client sends it: masked."""
    return bytes(Frame(opcode, data, fin).serialize(mask=True))


async def pour(browser, message, most):
    """Send until the site has had enough; the code that it closed with."""

    async def send():
        for number in range(most):
            await browser.send(message)
            if number % 50 == 0:
                await asyncio.sleep(0)  # to read, too

    return await code_after(browser, send())


async def pour_raw(browser, data, times):
    """The same beneath the client's own state of the connection."""

    async def send():
        for _ in range(times):
            browser.transport.write(data)
            await asyncio.sleep(0)

    return await code_after(browser, send())


async def code_after(browser, sending):
    """As soon as it is read: the connection itself is open for a while yet, for
    clients that are slower to read."""

    async def read():
        with suppress(ConnectionClosed):
            while True:
                await browser.recv()

    tasks = [asyncio.create_task(sending), asyncio.create_task(read())]
    async with asyncio.timeout(60):
        while browser.protocol.close_rcvd is None:
            if browser.protocol.state is State.CLOSED:
                raise AssertionError("dropped without a word")
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    browser.transport.abort()
    return browser.protocol.close_rcvd.code


FLOODS = {
    "large figures": lambda b: pour(b, LARGE, 20_000),
    "small events": lambda b: pour(b, '{"type":"stats"}', 100_000),
    "rewinds": lambda b: pour(b, '{"type":"say_again"}', 100_000),
    "bytes": lambda b: pour(b, b"\2" * 8_000, 20_000),
    "pings": lambda b: pour_raw(b, frame(Opcode.PING, b"p" * 125) * 100, 500),
    "pongs": lambda b: pour_raw(b, frame(Opcode.PONG) * 100, 500),
    "a message in pieces": lambda b: pour_raw(
        b, frame(Opcode.TEXT, fin=False) + frame(Opcode.CONT, fin=False) * 1_000, 1
    ),
}
NONSENSE = {
    "large": (frame(Opcode.BINARY, bytes(60_000)), 1009),
    "a little large": (frame(Opcode.TEXT, b" " * 9_000), 4413),
    "text that is none": (frame(Opcode.TEXT, b"\xed\xa0\x80"), 1007),
    "reserved bits": (b"\xf1\x80\0\0\0\0", 1002),
    "a reserved kind": (b"\x83\x80\0\0\0\0", 1002),
    "a long ping": (b"\x89\xfe\0\xff\0\0\0\0" + bytes(255), 1002),
}


@pytest.fixture(autouse=True)
def no_beats_needed(environment):  # noqa: F811
    """The worker of these tests says once that it is alive."""
    environment["WORKER_STALE_SECONDS"] = "600"
    environment["CONVERSATION_INACTIVITY_SECONDS"] = "600"
    # Here one browser comes back at once after each flood.
    environment["SOCKET_COOLDOWN_SECONDS"] = "0"
    environment["SOCKET_OPENINGS_BURST"] = "1000"


@pytest.fixture
def no_errors(capfd):
    yield
    text = capfd.readouterr().err
    lines = [x for x in text.splitlines() if " ERROR " in x or "Traceback" in x]
    assert not lines, text[-4_000:]


@sync_to_async
def ended():
    rows = Conversation.objects.exclude(ended_at=None)
    return sorted(rows.values_list("end_reason", flat=True))


async def test_floods_are_cut_off(no_errors, site, worker):  # noqa: F811
    worker.places = 64
    async with site.open() as other:
        await site.talk(other)
        await speak(other, 3, pace=0)
        before = memory_mb(site.process)
        for name, flood in FLOODS.items():
            async with site.open(close_timeout=1) as browser:
                await site.talk(browser)
                assert await flood(browser) in CUT_OFF[name], name
        for name, (data, code) in NONSENSE.items():
            async with site.open(close_timeout=1) as browser:
                await site.talk(browser)
                assert await pour_raw(browser, data, 1) == code, name
        grown = memory_mb(site.process) - before
        await speak(other, 3, pace=0, first=3)
        while isinstance(data := await other.recv(), str) or seq_of(data) < 5:
            pass
        async with asyncio.timeout(20):
            while len(worker.sessions) > 1:
                await asyncio.sleep(0.05)
            while await ended() != ["protocol"] * len(FLOODS | NONSENSE):
                await asyncio.sleep(0.05)
    assert grown < 100, "megabytes"


# A frame of the wrong kind is malformed before there are too many of them.
CUT_OFF = {name: {4429} for name in FLOODS} | {"bytes": {4429, 4400}}


def seq_of(data):
    return struct.unpack_from("<BBHI", data)[3]


async def test_so_are_those_of_sockets_that_expect_nothing(no_errors, site):  # noqa: F811
    """Of a voice upload, by a visitor who has not signed in, and before the answer."""
    async with site.open():
        before = memory_mb(site.process)
    talk, headers = site.address, site.headers
    upload = talk.split("/ws/")[0] + f"/ws/voices/{uuid4()}/"
    for address, cookie, codes in [
        (upload, headers, {4404, 4400, 4429}),
        (upload, {}, {4401, 4429}),
        (talk, {}, {4401, 4429}),
    ]:
        site.address, site.headers = address, cookie
        async with site.open(close_timeout=1) as browser:
            assert await pour(browser, STATS, 50_000) in codes
    host, port = talk.split("/")[2].split(":")
    await asyncio.to_thread(send_before_the_answer, host, int(port), talk)
    assert memory_mb(site.process) - before < 100


def send_before_the_answer(host, port, address):
    """The request, and frames behind it at once, as many as are taken."""
    path = address.split(f":{port}")[1]
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {'A' * 22}==\r\nOrigin: http://{host}:{port}\r\n\r\n"
    )
    flood = frame(Opcode.TEXT, b"x" * 8_000) * 8
    with (
        socket.create_connection((host, port), timeout=20) as raw,
        suppress(OSError),
    ):
        raw.sendall(request.encode())
        raw.settimeout(0.5)
        for _ in range(500):
            raw.sendall(flood)


@pytest.fixture
def generous(environment):  # noqa: F811
    """No budget to speak of: what is left is that pongs are not read."""
    for name in ("MESSAGES_PER_SECOND", "BURST_MESSAGES"):
        environment[f"SOCKET_{name}"] = "1000000000"
    for name in ("BYTES_PER_SECOND", "BURST_BYTES"):
        environment[f"SOCKET_{name}"] = "1000000000000"


async def test_pings_of_a_client_that_reads_nothing(
    no_errors,
    generous,
    new_site,  # noqa: F811
):
    site = await new_site()  # noqa: F811
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    host, port = site.address.split("/")[2].split(":")
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    pings = frame(Opcode.PING, b"p" * 125) * 300
    async with site.open(sock=raw, ping_interval=None, close_timeout=1) as browser:
        transport = browser.transport
        transport.pause_reading()
        before = memory_mb(site.process)
        async with asyncio.timeout(60):
            # A write notices it as well as a wait does, and leaves nothing to wait for.
            while not transport.is_closing():
                transport.write(pings)
                while transport.get_write_buffer_size() and not transport.is_closing():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0)
        grown = memory_mb(site.process) - before
    assert grown < 100
    assert os.path.exists(f"/proc/{site.process.pid}")
