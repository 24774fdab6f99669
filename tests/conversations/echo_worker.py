"""A worker that speaks the protocol and answers each frame with the same sound.

It keeps sessions, takes them up again and begins them from a log, as a real one does,
and it can be made to misbehave in every way that a conversation has to survive. The
model's memory is stood in for by ``Session.memory``: the seqs of the user frames that
it has behind it, which the tokens of a log carry (see ``tokens_of``).
"""

import asyncio
from collections import deque
from contextlib import suppress

import numpy as np
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from inference.engine.api import FrameLog, FrameResult
from inference.timing import STREAMS
from inference.worker import protocol
from inference.worker.protocol import (
    Attach,
    CaughtUp,
    Draining,
    End,
    Failed,
    More,
    Open,
    Park,
    Ready,
    UserFrame,
    VoiceWanted,
)

PIECES = [" Hello", ",", " how", " are", " you", "?"]
REPLAY_FRAMES = 64


def tokens_of(frame, seq):
    """uint16 [17] that name the worker's frame and the user frame it consumed."""
    tokens = np.full(STREAMS, frame % 2048, np.uint16)
    tokens[-1] = seq % 2048
    return tokens


class Session:
    """What outlives a socket."""

    def __init__(self, opened):
        self.opened = opened
        self.memory = []  # seqs, one for each frame that the model has behind it
        self.heard = []  # int16 [1920] of the newest of them, as far as known
        self.sent = deque(maxlen=REPLAY_FRAMES)  # (frame, message)
        self.dropped = 0
        self.socket = None
        self.parked = False

    @property
    def frame(self):
        return len(self.memory)

    def extend(self, log):
        self.memory += log.tokens[:, -1].tolist()
        self.heard += list(log.user_pcm)


class EchoWorker:
    def __init__(self):
        self.url = ""
        self.opened = []  # every Open
        self.attached = []  # every Attach
        self.logs = []  # every FrameLog, with Open or More
        self.voices = []  # every voice prompt
        self.sessions = {}  # conversation -> Session, those with a socket and parked
        self.refuse = None  # a Failed instead of Ready
        self.fail_at = {}  # frame -> Failed
        self.hang_at = None  # answer no frame from this one on
        self.die_at = None  # cut the connection at this frame
        self.dead = False  # refuses every connection
        self.places = 64  # sessions at once; WorkerBusy beyond
        self.context_frames = 2897
        self.drop = set()  # seqs that are dropped instead of answered
        self.mistake = None  # changes a FrameResult
        self.want_voice = False
        self.prime_seconds = 0.0
        self.fingerprint = "test-model"
        self.sound_frames = 30
        self.draining = False
        self.pin_prompt = False

    async def until_free(self):
        """The browser may hear of the end before the worker does."""
        async with asyncio.timeout(5):
            while self.sessions:
                await asyncio.sleep(0.01)

    async def __aenter__(self):
        self._server = await serve(
            self._serve, "127.0.0.1", 0, compression=None, max_size=2**24
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        await self._server.wait_closed()

    # What a test does to it.

    def kill(self):
        """As kill -9: nothing is kept, and connections fail until a restart."""
        self.dead = True
        for session in self.sessions.values():
            if session.socket is not None:
                session.socket.transport.abort()
        self.sessions.clear()

    def cut(self):
        """Only the sockets: the sessions are kept."""
        for session in self.sessions.values():
            if session.socket is not None:
                session.socket.transport.abort()

    async def drain(self, seconds=20.0):
        self.draining = True
        for session in list(self.sessions.values()):
            if session.socket is not None:
                await session.socket.send(protocol.dump(Draining(seconds)))

    # The protocol.

    async def _serve(self, socket):
        if self.dead:
            socket.transport.abort()
            return
        with suppress(ConnectionClosed):
            match protocol.parse(await socket.recv()):
                case Open() as opened:
                    self.authorization = socket.request.headers["Authorization"]
                    await self._open(socket, opened)
                case Attach() as attach:
                    await self._attach(socket, attach)

    async def _open(self, socket, opened):
        self.opened.append(opened)
        if self.refuse is not None or self.draining:
            await socket.send(protocol.dump(self.refuse or STOPPING))
            return
        if len(self.sessions.keys() - {opened.conversation}) >= self.places:
            await socket.send(protocol.dump(BUSY))
            return
        if old := self.sessions.pop(opened.conversation, None):
            await self._take_over(old)
        session = Session(opened)
        await self._prime(socket, session, opened)
        self.sessions[opened.conversation] = session
        await self._hold(socket, session)

    async def _prime(self, socket, session, opened):
        """Begin, with a log or without; all messages until Ready."""
        await self._take_log(socket, session, opened)
        if self.want_voice:
            await socket.send(protocol.dump(VoiceWanted(opened.voice)))
            self.voices.append(await socket.recv())
        await asyncio.sleep(self.prime_seconds)
        more = opened.more
        while more:
            await socket.send(protocol.dump(CaughtUp(session.frame)))
            message = protocol.parse(await socket.recv())
            if not isinstance(message, More):
                return
            await self._take_log(socket, session, message)
            more = message.more
        await socket.send(protocol.dump(self._ready(session)))

    async def _take_log(self, socket, session, message):
        if not message.log_frames:
            return
        data = b""
        while len(data) < protocol.log_bytes(message.log_frames, message.log_sound):
            data += protocol.decode_blob(protocol.LOG, await socket.recv())
        log = protocol.decode_log(message.log_frames, message.log_sound, data)
        assert isinstance(log, FrameLog)
        self.logs.append(log)
        session.extend(log)

    async def _attach(self, socket, attach):
        self.attached.append(attach)
        session = self.sessions.get(attach.conversation)
        if session is None or self.draining:
            failed = STOPPING if self.draining else NO_SESSION
            await socket.send(protocol.dump(failed))
            return
        await self._take_over(session)
        await socket.send(protocol.dump(self._ready(session)))
        for frame, message in list(session.sent):
            if frame >= attach.have:
                await socket.send(message)
        await self._hold(socket, session)

    async def _take_over(self, session):
        old, session.socket = session.socket, None
        if old is not None:
            with suppress(ConnectionClosed):
                await old.send(protocol.dump(TAKEN_OVER))
            await old.close()

    async def _hold(self, socket, session):
        """Until End; without it the session is kept."""
        session.socket, session.parked = socket, False
        name, ended = session.opened.conversation, False
        try:
            ended = await self._echo(socket, session)
        finally:
            if session.socket is socket:
                session.socket, session.parked = None, True
                if (ended or not session.opened.keep_s) and name in self.sessions:
                    del self.sessions[name]

    async def _echo(self, socket, session):
        """True: the slot is to be freed."""
        async for message in socket:
            if isinstance(message, str):
                match protocol.parse(message):
                    case End():
                        return True
                    case Park():
                        return False
                    case Open() as again:
                        self.opened.append(again)
                        session.__init__(again)
                        session.socket = socket
                        await self._prime(socket, session, again)
                        continue
            user = UserFrame.decode(message)
            if user.seq in self.drop:
                session.dropped += 1
                continue
            if session.frame == self.die_at:
                socket.transport.abort()
                self.sessions.pop(session.opened.conversation, None)
                return True
            if self.hang_at is not None and session.frame >= self.hang_at:
                continue
            if failed := self.fail_at.get(session.frame):
                await socket.send(protocol.dump(failed))
                return True
            answer = self._answer(session, user)
            session.sent.append((session.frame - 1, answer))
            if session.socket is socket:
                await socket.send(answer)
        return False

    def _ready(self, session):
        return Ready(
            slot=0,
            model="tiny",
            fingerprint=self.fingerprint,
            trained=False,
            prompt_frames=103,
            prime_ms=12.5,
            context_frames=self.context_frames - session.frame,
            frame=session.frame,
            sound_frames=self.sound_frames,
            pin_prompt=self.pin_prompt,
        )

    def _answer(self, session, user):
        frame = session.frame
        session.memory.append(user.seq)
        session.heard.append(user.pcm)
        result = FrameResult(
            frame=frame,
            seq=user.seq,
            dropped=session.dropped,
            queue_us=1_000,
            tick_us=2_000,
            late=frame % 10 == 9,
            tokens=tokens_of(frame, user.seq),
            piece=PIECES[frame % 6] if frame % 3 == 0 else "",
            pcm=user.pcm,
        )
        session.dropped = 0
        if self.mistake is not None:
            result = self.mistake(result)
        return protocol.encode_agent_frame(result)


MODEL_ERROR = Failed("model_error", "The voice engine failed.", True)
BUSY = Failed("worker_busy", "All places are taken.", True)
STOPPING = Failed("shutdown", "The voice engine is being restarted.", True)
NO_SESSION = Failed("no_session", "The voice engine no longer has it.", False)
TAKEN_OVER = Failed("taken_over", "It continues in another window.", False)
