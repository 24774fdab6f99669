"""A worker that speaks the protocol and answers each frame with the same sound.

It can be told to misbehave in every way that a conversation has to survive.
"""

import asyncio

import numpy as np
from websockets.asyncio.server import serve

from inference.engine.api import FrameResult
from inference.timing import STREAMS
from inference.worker import protocol
from inference.worker.protocol import Failed, Open, Ready, UserFrame, VoiceWanted

PIECES = [" Hello", ",", " how", " are", " you", "?"]


class EchoWorker:
    def __init__(self):
        self.url = ""
        self.opened = []  # every Open
        self.voices = []  # every voice prompt
        self.sessions = set()  # live sockets
        self.refuse = None  # a Failed instead of Ready
        self.fail_at = {}  # frame -> Failed
        self.hang_at = None  # answer no frame from this one on
        self.die_at = None  # cut the connection at this frame
        self.drop = set()  # seqs that are dropped instead of answered
        self.mistake = None  # changes a FrameResult
        self.want_voice = False
        self.prime_seconds = 0.0
        self.fingerprint = "test-model"

    async def __aenter__(self):
        self._server = await serve(
            self._session, "127.0.0.1", 0, compression=None, max_size=2**24
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        await self._server.wait_closed()

    async def _session(self, socket):
        opened = protocol.parse(await socket.recv())
        assert isinstance(opened, Open)
        self.opened.append(opened)
        self.authorization = socket.request.headers["Authorization"]
        if self.refuse is not None:
            await socket.send(protocol.dump(self.refuse))
            return
        if self.want_voice:
            await socket.send(protocol.dump(VoiceWanted(opened.voice)))
            self.voices.append(await socket.recv())
        await asyncio.sleep(self.prime_seconds)
        await socket.send(protocol.dump(self._ready()))
        self.sessions.add(socket)
        try:
            await self._echo(socket)
        finally:
            self.sessions.discard(socket)

    def _ready(self):
        return Ready(
            slot=0,
            model="tiny",
            fingerprint=self.fingerprint,
            trained=False,
            prompt_frames=103,
            prime_ms=12.5,
            context_frames=2897,
        )

    async def _echo(self, socket):
        frame = dropped = 0
        async for message in socket:
            if isinstance(message, str):
                return  # End
            user = UserFrame.decode(message)
            if user.seq in self.drop:
                dropped += 1
                continue
            if frame == self.die_at:
                socket.transport.abort()
                return
            if self.hang_at is not None and frame >= self.hang_at:
                continue
            if failed := self.fail_at.get(frame):
                await socket.send(protocol.dump(failed))
                return
            await socket.send(self._answer(frame, user, dropped))
            frame, dropped = frame + 1, 0

    def _answer(self, frame, user, dropped):
        piece = PIECES[frame % 6] if frame % 3 == 0 else ""
        result = FrameResult(
            frame=frame,
            seq=user.seq,
            dropped=dropped,
            queue_us=1_000,
            tick_us=2_000,
            late=frame % 10 == 9,
            tokens=np.full(STREAMS, frame % 2048, np.uint16),
            piece=piece,
            pcm=user.pcm,
        )
        if self.mistake is not None:
            result = self.mistake(result)
        return protocol.encode_agent_frame(result)


MODEL_ERROR = Failed("model_error", "The voice engine failed.", True)
BUSY = Failed("worker_busy", "All places are taken.", True)
STOPPING = Failed("shutdown", "The voice engine is being restarted.", True)
