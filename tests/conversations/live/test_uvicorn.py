"""What is relied on of Daphne, of uvicorn: some of the same tests, and its own."""

import asyncio
import signal
import socket
import time

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect

from tests.conversations.live.test_daphne import (  # noqa: F401
    environment,
    new_site,
    site,
    test_a_connection_that_breaks_is_a_lost_network,
)
from tests.conversations.live.test_daphne import (
    test_a_stopped_web_process_leaves_its_conversations_in_order as check_stopped,
)


@pytest.fixture
def server():
    return ["-m", "personaplex_site.uvicorn_server", "--fd"]


async def test_a_stopped_web_process_parks_its_conversations(site, worker):  # noqa: F811
    await check_stopped(site, worker, signal.SIGTERM, 4412)


async def test_a_body_without_end_is_refused(site):  # noqa: F811
    async def endless():
        for _ in range(64):
            yield bytes(1_000_000)
            await asyncio.sleep(0)

    began = time.monotonic()
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        try:
            answer = await client.post(site.origin + "/sign-in/", content=endless())
            assert answer.status_code == 413
        except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
            pass  # cut off in the middle of what it sends
    assert time.monotonic() - began < 15


async def test_a_client_that_reads_nothing_is_dropped():
    """uvicorn's own protocol waits for the closing to be read, without end."""
    from personaplex_site.uvicorn_server import Socket

    heard, blocked = asyncio.Queue(), asyncio.Event()

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                message = {"type": "websocket.send", "bytes": bytes(65_536)}
                await asyncio.wait_for(send(message), 0.3)
        except TimeoutError:
            blocked.set()
        await send({"type": "websocket.close", "code": 1000})
        heard.put_nowait(await receive())

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    config = uvicorn.Config(application, ws=Socket, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    async with connect(url, proxy=None, max_queue=1) as browser:
        browser.transport.pause_reading()
        await asyncio.wait_for(blocked.wait(), 10)
        assert (await asyncio.wait_for(heard.get(), 5))[
            "type"
        ] == "websocket.disconnect"
        browser.transport.abort()
    server.should_exit = True
    await asyncio.wait_for(serving, 10)
