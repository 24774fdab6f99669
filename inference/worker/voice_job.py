"""One ``/voices`` socket: a prepared recording in, a voice prompt out.

Checks the order of messages and the size of the recording; the engine encodes it
between ticks. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from inference.engine.api import ModelThread
from inference.errors import ProtocolError, VoicePromptError
from inference.worker import protocol
from inference.worker.admission import Admission
from inference.worker.protocol import EncodeVoice, VoiceProgress

log = logging.getLogger(__name__)

RECEIVE_SECONDS = 30  # for each message
PROGRESS_STEP = 0.02  # finer progress is not sent
SAMPLE_BYTES = 4


async def encode_for(
    connection: ServerConnection, thread: ModelThread, admission: Admission
) -> None:
    info = admission.check(sessions=0)  # needs no slot
    wanted = await _receive_wanted(connection)
    if wanted.fingerprint not in ("", info.fingerprint):
        raise VoicePromptError(
            f"wanted for model {wanted.fingerprint:.12}, here is {info.fingerprint:.12}"
        )
    pcm = await _receive_pcm(connection, wanted.samples)
    loop = asyncio.get_running_loop()
    steps: asyncio.Queue[float] = asyncio.Queue()  # at most 1 / PROGRESS_STEP entries
    last = 0.0

    def progress(done: float) -> None:
        nonlocal last
        if done - last >= PROGRESS_STEP:
            last = done
            loop.call_soon_threadsafe(steps.put_nowait, done)

    job = asyncio.wrap_future(thread.encode_voice(pcm, progress))
    sender = asyncio.create_task(_send_progress(connection, steps))
    gone = asyncio.create_task(connection.wait_closed())
    try:
        either: set[asyncio.Future[Any]] = {job, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            sender.cancel()
            blob = protocol.encode_blob(protocol.VOICE_PROMPT, job.result())
            await connection.send(blob)
            log.info("Encoded a voice of %.1f s", wanted.samples / 24_000)
    finally:
        for task in (job, sender, gone):
            task.cancel()  # cancelling the job gives it up on the model thread


async def _receive_wanted(connection: ServerConnection) -> EncodeVoice:
    message = await _receive(connection)
    wanted = protocol.parse(message) if isinstance(message, str) else None
    if not isinstance(wanted, EncodeVoice):
        raise ProtocolError("EncodeVoice was due")
    if not 0 < wanted.samples <= protocol.MAX_VOICE_SAMPLES:
        raise VoicePromptError(
            f"{wanted.samples} samples",
            text="This recording is too long or empty. Use 3 to 60 seconds of speech.",
        )
    return wanted


async def _receive_pcm(
    connection: ServerConnection, samples: int
) -> NDArray[np.float32]:
    data = bytearray()
    while len(data) < samples * SAMPLE_BYTES:
        message = await _receive(connection)
        if isinstance(message, str) or len(message) > protocol.MAX_MESSAGE:
            raise ProtocolError("a piece of the recording was due")
        piece = protocol.decode_blob(protocol.VOICE_PCM, message)
        if not piece or len(data) + len(piece) > samples * SAMPLE_BYTES:
            raise ProtocolError("the recording is not as long as announced")
        data += piece
    pcm = np.frombuffer(bytes(data), "<f4").astype(np.float32)
    if not np.isfinite(pcm).all():
        raise ProtocolError("the recording has samples that are no numbers")
    return pcm


async def _receive(connection: ServerConnection) -> str | bytes:
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            return await connection.recv()
    except TimeoutError as error:
        raise ProtocolError(f"nothing came for {RECEIVE_SECONDS} s") from error


async def _send_progress(
    connection: ServerConnection, steps: asyncio.Queue[float]
) -> None:
    try:
        while True:
            await connection.send(protocol.dump(VoiceProgress(await steps.get())))
    except ConnectionClosed:
        pass
