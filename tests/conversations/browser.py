"""A browser on the other end of a ConversationConsumer."""

import asyncio
import json
import struct

import numpy as np
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator

from conversations.audio.opus import Encoder
from conversations.routing import websocket_urlpatterns
from inference.timing import FRAME_SAMPLES, SAMPLE_RATE

HEADER = struct.Struct("<BBHI")
OPUS, PCM = 1, 2


def tone(frames, hertz=440.0):
    """int16 [frames, 1920]."""
    at = np.arange(frames * FRAME_SAMPLES) / SAMPLE_RATE
    wave = 8_000 * np.sin(2 * np.pi * hertz * at)
    return wave.astype("<i2").reshape(frames, FRAME_SAMPLES)


class Browser(WebsocketCommunicator):
    """Collects everything that arrives, so that tests may look at it in any order."""

    def __init__(self, persona, user):
        super().__init__(
            URLRouter(websocket_urlpatterns), f"/ws/personas/{persona}/talk/"
        )
        self.scope["user"] = user
        self.events = []
        self.frames = []  # (kind, flags, path, seq, payload)
        self.close_code = None
        self._encoder = Encoder(32_000)

    async def open(self):
        accepted, _ = await self.connect(timeout=5)
        assert accepted
        return self

    async def start(self, audio="opus", **sampling):
        await self.open()
        event = {"type": "start", "audio": audio}
        if sampling:
            event["sampling"] = sampling
        await self.send_json_to(event)
        await self.until("ready")
        return self

    async def resume(self, before, *, have=None, audio="opus"):
        """Come back on a new socket, as the page of ``before`` would."""
        if have is None:
            have = max((frame[3] for frame in before.frames), default=-1)
        await self.ask_to_resume(before.event("ready"), have=have, audio=audio)
        await self.until("ready", timeout=10)
        return self

    async def ask_to_resume(self, ready, *, have=-1, audio="opus"):
        await self.open()
        resume = {
            "conversation": ready["conversation"],
            "token": ready["resume"],
            "have": have,
        }
        await self.send_json_to({"type": "start", "audio": audio, "resume": resume})

    async def say(self, seq, pcm=None, *, kind=OPUS, flags=0, payload=None):
        pcm = tone(1)[0] if pcm is None else pcm
        if payload is None:
            sound = pcm.astype("<i2")
            payload = self._encoder.encode(sound) if kind == OPUS else sound.tobytes()
        await self.send_to(bytes_data=HEADER.pack(kind, flags, 0, seq) + payload)

    async def converse(self, frames, pace=0.0, first=0, **how):
        """Say frames first … first + n − 1 and wait for the answer of the last."""
        sound = tone(frames)
        for seq in range(frames):
            await self.say(first + seq, sound[seq], **how)
            await asyncio.sleep(pace)
        await self.until_frame(first + frames - 1)

    async def take(self, timeout=5.0):
        message = await self.receive_output(timeout)
        if message["type"] == "websocket.close":
            self.close_code = message.get("code", 1000)
        elif message.get("text") is not None:
            self.events.append(json.loads(message["text"]))
        else:
            data = message["bytes"]
            self.frames.append((*HEADER.unpack_from(data), data[HEADER.size :]))

    def states(self):
        return [e["state"] for e in self.events if e["type"] == "state"]

    def event(self, kind):
        return next((e for e in self.events if e["type"] == kind), None)

    async def until(self, kind, timeout=5.0):
        async with asyncio.timeout(timeout):
            while self.event(kind) is None:
                assert self.close_code is None, (self.close_code, self.events)
                await self.take(timeout)
        return self.event(kind)

    async def until_state(self, state, timeout=20.0):
        async with asyncio.timeout(timeout):
            while not self.states() or self.states()[-1] != state:
                assert self.close_code is None, (self.close_code, self.events)
                await self.take(timeout)

    async def until_frame(self, seq, timeout=5.0):
        async with asyncio.timeout(timeout):
            while not self.frames or self.frames[-1][3] < seq:
                assert self.close_code is None, (self.close_code, self.events)
                await self.take(timeout)

    async def until_closed(self, timeout=20.0):
        async with asyncio.timeout(timeout):
            while self.close_code is None:
                await self.take(timeout)
        return self.close_code

    async def leave(self, code=1001):
        await self.disconnect(code, timeout=10)
