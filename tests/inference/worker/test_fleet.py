"""Several workers on one host, one of which is killed."""

import asyncio
import os
import signal
from dataclasses import dataclass

import pytest

from inference.errors import NoSession, NoWorker, WorkerBusy, WorkerLost
from tests.inference.echo_engine import EchoEngine
from tests.inference.worker.conftest import running
from tests.inference.worker.talking import attach, collect, said, say, talk


@dataclass
class Forked:
    pid: int
    port: int

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0


def forked(slots):
    """A worker in a process of its own, without a second start of Python."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            asyncio.run(serve(slots, write))
        finally:
            os._exit(1)
    os.close(write)
    port = int(os.read(read, 10))
    os.close(read)
    return Forked(pid, port)


async def serve(slots, port_pipe):
    async with running(EchoEngine(slots=slots)) as rig:
        os.write(port_pipe, str(rig.server.port).encode())
        await rig.task


@pytest.fixture
def fleet():
    workers = [forked(slots=3), forked(slots=3)]
    yield workers
    for worker in workers:
        if worker.pid:
            worker.kill()


async def test_a_session_of_a_killed_worker_continues_with_another(fleet):
    one, other = fleet
    names = ["a", "b", "c"]
    sessions = [await talk(one, name, keep_s=30) for name in names]
    for session in sessions:
        await say(session, 0, 4)
    bystander = await talk(other, "d", keep_s=30)
    one.kill()
    for session in sessions:
        with pytest.raises(WorkerLost):
            await asyncio.wait_for(collect(session, 1), 2)
    for worker, error in ((one, NoWorker), (other, NoSession)):
        with pytest.raises(error):
            await attach(worker, "a", have=4)
    moved = [await talk(other, name, log=said(0, 4), keep_s=30) for name in "ab"]
    for session in moved:
        (result,) = await say(session, 4)
        assert (result.frame, result.pcm[0]) == (4, 3)
    with pytest.raises(WorkerBusy):  # three slots
        await talk(other, "c", log=said(0, 4), keep_s=30)
    assert (await say(bystander, 0))[0].frame == 0
    for session in (bystander, *moved):
        await session.close()
