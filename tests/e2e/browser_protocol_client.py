"""A browser's half of docs/protocol.md in Python, with a fixed microphone.

For what Chromium can't do twice alike: the same packets in the same order, so that a
greedy conversation gives the same tokens again. Never faster than real time, and never
more than ``AHEAD`` frames before the answers, so that no frame is dropped however slow
the machine is. When its socket breaks it comes back, as a page does.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, cycle, repeat
from typing import Any, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from inference.timing import FRAME_SECONDS

HEADER = struct.Struct("<BBHI")
OPUS = 1
AHEAD = 2
# Frames may be lost on the way to a worker that is replaced. Longer than the site waits
# for an answer, shorter than its limit of inactivity.
LOST_SECONDS = 15.0
T = TypeVar("T")


class Site:
    """A signed-in browser without pages: cookies, forms, sockets."""

    def __init__(self, address: str, username: str, password: str) -> None:
        self.address = address
        self.http = httpx.Client(base_url=address, trust_env=False, timeout=30)
        self.http.get("/sign-in/").raise_for_status()
        answer = self.http.post(
            "/sign-in/",
            data={**self.csrf(), "username": username, "password": password},
        )
        assert answer.status_code == 302, f"not signed in: {answer.status_code}"

    def csrf(self) -> dict[str, str]:
        return {"csrfmiddlewaretoken": self.http.cookies["personaplex_csrf"]}

    def create_persona(
        self, name: str, role_prompt: str, voice: str = "", **others: str
    ) -> str:
        """The id of the new persona; ``voice`` is the path of a sample."""
        fields = {**self.csrf(), "name": name, "role_prompt": role_prompt, **others}
        if not voice:
            answer = self.http.post("/personas/new/", data=fields, headers=JSON)
        else:
            with open(voice, "rb") as file:
                answer = self.http.post(
                    "/personas/new/", data=fields, files={"voice": file}, headers=JSON
                )
        assert answer.status_code == 201, f"{answer.status_code} {answer.text[:500]}"
        return str(answer.json()["url"]).rstrip("/").split("/")[-1]

    def upload_voice(self, persona: str, path: str) -> str:
        """Where the status of the upload is read."""
        with open(path, "rb") as file:
            answer = self.http.post(
                f"/personas/{persona}/voice/",
                data=self.csrf(),
                files={"voice": file},
                headers=JSON,
            )
        assert answer.status_code == 201, f"{answer.status_code} {answer.text[:500]}"
        return str(answer.json()["status_url"])

    def status(self, url: str) -> dict[str, object]:
        answer = self.http.get(url)
        return dict(answer.json()) if answer.status_code == 200 else {}

    def data(self, conversation: str) -> dict:
        answer = self.http.get(f"/conversations/{conversation}/data/")
        answer.raise_for_status()
        return dict(answer.json())

    def talk(self, persona: str) -> connect:
        cookie = "; ".join(f"{k}={v}" for k, v in self.http.cookies.items())
        socket = self.address.replace("http", "ws", 1) + f"/ws/personas/{persona}/talk/"
        return connect(
            socket,
            additional_headers={"Cookie": cookie},
            origin=self.address,
            proxy=None,
        )


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """asyncio.run, but in a thread: Playwright's loop may occupy this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


JSON = {"Accept": "application/json"}


FINAL = {1000, 4400, 4401, 4404, 4408, 4409, 4410, 4413, 4429, 4503}
AGAIN_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)  # the last one for all later attempts


class Microphone:
    """The same packets over and over until ``stop``: for tests that wait for something
    that takes longer on a slower machine."""

    def __init__(self, packets: list[bytes]) -> None:
        self._packets, self._stopped = packets, False

    def stop(self) -> None:
        self._stopped = True

    def __iter__(self) -> Iterator[bytes]:
        for packet in cycle(self._packets):
            if self._stopped:
                return
            yield packet


@dataclass
class Talk:
    """What one conversation gave."""

    conversation: str = ""
    answered: int = 0
    sound: list[bytes] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    ended: dict = field(default_factory=dict)
    close_code: int | None = None
    seqs: list[int] = field(default_factory=list)
    heard_at: list[float] = field(default_factory=list)  # time.monotonic of each
    resumes: int = 0
    live: asyncio.Event = field(default_factory=asyncio.Event)
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    socket: ClientConnection | None = None  # the newest
    next_seq: int = 0  # of the microphone
    sent_from: int = 0  # seqs from here on were sent to a session that is live

    def error(self) -> dict:
        return next((e for e in self.events if e["type"] == "error"), {})

    def ready(self) -> dict:
        """The newest."""
        events = (e for e in reversed(self.events) if e["type"] == "ready")
        return next(events, {})

    @property
    def unanswered(self) -> int:
        """How many frames of a live session have no answer yet."""
        answered = self.seqs[-1] + 1 if self.seqs else 0
        return self.next_seq - max(answered, self.sent_from)

    def longest_pause(self) -> float:
        """Seconds between two answers, in the conversation's middle."""
        pairs = zip(self.heard_at, self.heard_at[1:], strict=False)
        return max(later - earlier for earlier, later in pairs)


async def hold(
    site: Site,
    persona: str,
    packets: Iterable[bytes],
    *,
    talk: Talk | None = None,
    **sampling: object,
) -> Talk:
    """Speak all packets, wait for their answers, end; or until the site ends it."""
    talk = talk or Talk()
    speaker = Speaker(talk, packets)
    speaking = asyncio.create_task(speaker.speak())
    start: dict[str, object] = {"audio": "opus", "sampling": sampling}
    try:
        await _hold_socket(site, persona, start, speaker)
        lost_at = time.monotonic()
        for pause in chain(AGAIN_SECONDS, repeat(AGAIN_SECONDS[-1])):
            limit = talk.ready().get("resume_seconds", 0)
            if talk.close_code in FINAL or time.monotonic() - lost_at > limit:
                break
            await asyncio.sleep(pause)
            resume = {
                "conversation": talk.conversation,
                "token": talk.ready()["resume"],
                "have": talk.seqs[-1] if talk.seqs else -1,
            }
            resumes = talk.resumes
            start = {"audio": "opus", "resume": resume}
            await _hold_socket(site, persona, start, speaker)
            if talk.resumes > resumes:
                lost_at = time.monotonic()
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    return talk


async def _hold_socket(
    site: Site, persona: str, start: dict[str, object], speaker: Speaker
) -> None:
    talk = speaker.talk
    try:
        async with site.talk(persona) as socket:
            await socket.send(json.dumps({"type": "start", **start}))
            speaker.socket = talk.socket = socket
            await _hear(socket, talk)
    except (OSError, InvalidHandshake):
        talk.close_code = None
        return
    finally:
        speaker.socket = None
        talk.live.clear()
        talk.progress.set()
    talk.close_code = socket.close_code


class Speaker:
    """The microphone, which counts its frames whether anybody listens or not."""

    def __init__(self, talk: Talk, packets: Iterable[bytes]) -> None:
        self.talk = talk
        self.socket: ClientConnection | None = None
        self._packets = packets

    async def speak(self) -> None:
        talk, clock = self.talk, asyncio.get_running_loop().time
        await talk.live.wait()
        due = clock()
        for seq, packet in enumerate(self._packets):
            await self._answers(AHEAD)
            await asyncio.sleep(max(0.0, due - clock()))
            due = max(due, clock() - FRAME_SECONDS) + FRAME_SECONDS
            talk.next_seq = seq + 1
            if not talk.live.is_set():
                talk.sent_from = seq + 1
            elif self.socket is not None:
                with suppress(ConnectionClosed):
                    await self.socket.send(HEADER.pack(OPUS, 0, 0, seq) + packet)
        await talk.live.wait()
        await self._answers(1)
        await talk.live.wait()  # it may have been lost meanwhile
        if self.socket is not None:
            await self.socket.send(json.dumps({"type": "end"}))

    async def _answers(self, ahead: int) -> None:
        """Until fewer frames than that are unanswered, or they count as lost: a real
        microphone does not wait either."""
        talk = self.talk
        with suppress(TimeoutError):
            async with asyncio.timeout(LOST_SECONDS):
                while talk.live.is_set() and talk.unanswered >= ahead:
                    talk.progress.clear()
                    await talk.progress.wait()


async def _hear(socket: ClientConnection, talk: Talk) -> None:
    with suppress(ConnectionClosed):
        async for message in socket:
            if isinstance(message, bytes):
                talk.answered += 1
                talk.seqs.append(HEADER.unpack_from(message)[3])
                talk.heard_at.append(time.monotonic())
                talk.sound.append(message[HEADER.size :])
                talk.progress.set()
                continue
            event = json.loads(message)
            talk.events.append(event)
            _note(event, talk)


def _note(event: dict, talk: Talk) -> None:
    match event:
        case {"type": "ready"}:
            talk.conversation = event["conversation"]
            talk.resumes += event["resumed"]
        case {"type": "state", "state": state}:
            if state == "live":
                # What was sent before may be lost: no answer to it is waited for.
                talk.sent_from = talk.next_seq
                talk.live.set()
            else:
                talk.live.clear()
            talk.progress.set()
        case {"type": "text"}:
            talk.pieces.append(event["piece"])
        case {"type": "ended"}:
            talk.ended = event
