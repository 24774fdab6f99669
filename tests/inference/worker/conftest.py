"""Real servers on free ports, with an engine that echoes."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect

from inference.engine.model_thread import ModelThread
from inference.worker.options import WorkerOptions
from inference.worker.server import WorkerServer
from tests.inference.echo_engine import EchoEngine

SECRET = "a shared secret"


class Rig:
    """One running worker, its engine, and ways to reach it."""

    def __init__(self, engine, server, task):
        self.engine, self.server, self.task = engine, server, task

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.server.port}"

    @property
    def http(self):
        return f"http://127.0.0.1:{self.server.port}"

    def socket(self, path="/session", secret=SECRET, **options):
        headers = {"Authorization": f"Bearer {secret}"}
        return connect(
            self.url + path,
            additional_headers=headers,
            proxy=None,
            compression=None,
            max_size=2**25,
            **options,
        )

    async def until(self, condition, seconds=5):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def until_free(self):
        await self.until(lambda: self.server.thread.stats().sessions == 0)

    async def stop(self):
        self.server.stop()
        async with asyncio.timeout(10):
            return await self.task


@asynccontextmanager
async def running(engine=None, options=None, load=None, ready=True, **thread_options):
    engine = engine or EchoEngine()
    thread = ModelThread(load or (lambda: engine), **thread_options)
    options = replace(options or WorkerOptions(secret=SECRET), secret=SECRET)
    server = WorkerServer(thread, options)
    rig = Rig(engine, server, asyncio.create_task(server.run()))
    await rig.until(lambda: server.port)
    if ready:
        await rig.until(lambda: server.admission.ready)
    try:
        yield rig
    finally:
        engine.held.set()
        if not rig.task.done():
            await rig.stop()


@pytest.fixture
async def rig():
    async with running() as rig:
        yield rig
