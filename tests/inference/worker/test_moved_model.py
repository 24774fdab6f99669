"""A real model's conversation that is moved has the tokens of the unmoved one."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from inference.engine.api import FrameLog, Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.worker.client import WorkerSession
from inference.worker.protocol import Open
from tests.inference.engine.sessions import opened, speech
from tests.inference.toys import toy_model
from tests.inference.worker.conftest import SECRET, running

TOY = toy_model()
SOUND = speech(5, 60)
GREEDY = Sampling(greedy=True)
OPENED = Open("one", "Be kind.", sampling=GREEDY)


@pytest.fixture(scope="module")
def unmoved():
    """What is said when nothing happens: the tokens of each frame."""
    engine = Engine(TOY, 1)
    slot = opened(engine, SessionConfig("one", "Be kind.", sampling=GREEDY))
    tokens = [engine.step({slot: frame})[slot].tokens.tolist() for frame in SOUND]
    assert len({tuple(row[:9]) for row in tokens}) > 50
    return tokens


def worker():
    return running(load=lambda: Engine(TOY, 1))


async def hear(session, record, count):
    """The next frames of the user, one at a time; what is said goes to ``record``."""
    for _ in range(count):
        session.push(len(record), SOUND[len(record)])
        result = await anext(session)
        assert result.frame == len(record)
        record.append(result.tokens)


def since(record, first=0):
    tokens = np.array(record[first:], np.uint16).reshape(-1, 17)
    return FrameLog(tokens, SOUND[first : len(record)])


async def test_a_session_that_moves_while_it_talks(unmoved):
    record = []
    async with worker() as old, worker() as new:
        here = await WorkerSession.connect(old.url, SECRET, OPENED)
        await hear(here, record, 30)
        there = await WorkerSession.prepare(new.url, SECRET, OPENED, log=since(record))
        await hear(here, record, 4)
        at = await there.catch_up(since(record, there.frame))
        await hear(here, record, 1)
        async with await there.go(since(record, at)) as moved:
            await here.close()
            await hear(moved, record, 25)
    assert [row.tolist() for row in record] == unmoved


async def test_a_session_whose_worker_is_gone_continues_elsewhere(unmoved):
    record = []
    async with worker() as old:
        here = await WorkerSession.connect(old.url, SECRET, OPENED)
        await hear(here, record, 40)
        here._socket.transport.abort()
    async with worker() as new:
        moved = await WorkerSession.connect(new.url, SECRET, OPENED, log=since(record))
        await hear(moved, record, 20)
        assert [row.tolist() for row in record] == unmoved
        # Rewound, in its own slot.
        del record[15:]
        again = replace(OPENED, sampling=replace(GREEDY, seed=1))
        await rewound(moved, again, since(record))
        await hear(moved, record, 20)
        await moved.close()
    assert [row.tolist() for row in record] == unmoved[:35]


async def test_a_pinned_session_stays_pinned_wherever_it_goes():
    engine = Engine(TOY, 1)
    async with running(load=lambda: engine) as rig:
        for pinned in (True, False):
            opened = replace(OPENED, pin_prompt=pinned)
            async with await WorkerSession.connect(rig.url, SECRET, opened) as session:
                kept = int(engine._batches[0]._state.ring.pinned[0])
                assert kept == (session.ready.prompt_frames if pinned else 0)
            await rig.until_free()


async def rewound(session, again, log):
    """As the site does it: agent frames are read meanwhile."""
    reading = asyncio.create_task(anext(session))
    await session.restart(again, log=log)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
