"""Sessions of a rig's worker, and logs of what an echo said."""

import asyncio

import numpy as np
from websockets.exceptions import ConnectionClosed

from inference.engine.api import FrameLog
from inference.worker import protocol
from inference.worker.client import WorkerSession
from inference.worker.protocol import Attach, Open
from tests.inference.echo_engine import frame_of
from tests.inference.worker.conftest import SECRET


def talk(rig, name="one", prompt=b"", log=None, **fields):
    return WorkerSession.connect(rig.url, SECRET, Open(name, **fields), prompt, log=log)


def attach(rig, name="one", have=0, keep_s=0.0):
    return WorkerSession.attach(rig.url, SECRET, Attach(name, have, keep_s))


def prepare(rig, name="one", log=None, **fields):
    return WorkerSession.prepare(rig.url, SECRET, Open(name, **fields), log=log)


async def collect(session, count):
    results = []
    async for result in session:
        results.append(result)
        if len(results) == count:
            return results
    return results


async def say(session, first, count=1):
    """Push frames whose sound and seq are their numbers; what came back."""
    for number in range(first, first + count):
        session.push(number, frame_of(number))
    return await asyncio.wait_for(collect(session, count), 5)


def said(first, count):
    """The log of an echo that heard frames ``first`` …"""
    sound = [frame_of(number) for number in range(first, first + count)]
    tokens = np.zeros((count, 17), np.uint16)
    return FrameLog(tokens, np.array(sound, np.int16).reshape(count, 1920))


async def failure_of(socket):
    """The Failed a socket ends with, after whatever came before it."""
    last = None
    async with asyncio.timeout(5):
        try:
            while True:
                last = await socket.recv()
        except ConnectionClosed:
            return protocol.parse(last)
