"""A browser's half of docs/protocol.md in Python, with a fixed microphone.

For what Chromium can't do twice alike: the same packets in the same order, so that a
greedy conversation gives the same tokens again. Never faster than real time, and never
more than ``AHEAD`` frames before the answers, so that no frame is dropped.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from inference.timing import FRAME_SECONDS

HEADER = struct.Struct("<BBHI")
OPUS = 1
AHEAD = 2
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
        return {"csrfmiddlewaretoken": self.http.cookies["csrftoken"]}

    def create_persona(self, name: str, role_prompt: str, voice: str = "") -> str:
        """The id of the new persona; ``voice`` is the path of a sample."""
        fields = {**self.csrf(), "name": name, "role_prompt": role_prompt}
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
        """Where the status of the upload is told."""
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
    live: asyncio.Event = field(default_factory=asyncio.Event)
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    def error(self) -> dict:
        return next((e for e in self.events if e["type"] == "error"), {})


async def hold(
    site: Site,
    persona: str,
    packets: list[bytes],
    *,
    talk: Talk | None = None,
    **sampling: object,
) -> Talk:
    """Speak all packets, wait for their answers, end; or until the site ends it."""
    talk = talk or Talk()
    async with site.talk(persona) as socket:
        start = {"type": "start", "audio": "opus", "sampling": sampling}
        await socket.send(json.dumps(start))
        hearing = asyncio.create_task(_hear(socket, talk))
        speaking = asyncio.create_task(_speak(socket, talk, packets))
        await asyncio.wait([hearing, speaking], return_when=asyncio.FIRST_COMPLETED)
        if speaking.done() and not speaking.exception():
            await asyncio.wait([hearing], timeout=10)
        for task in (hearing, speaking):
            task.cancel()
        await asyncio.gather(hearing, speaking, return_exceptions=True)
    talk.close_code = socket.close_code
    return talk


async def _speak(socket: ClientConnection, talk: Talk, packets: list[bytes]) -> None:
    await talk.live.wait()
    clock = asyncio.get_running_loop().time
    due = clock()
    for seq, packet in enumerate(packets):
        while talk.answered < seq - AHEAD:
            talk.progress.clear()
            await talk.progress.wait()
        await asyncio.sleep(max(0.0, due - clock()))
        due = max(due, clock() - FRAME_SECONDS) + FRAME_SECONDS
        await socket.send(HEADER.pack(OPUS, 0, 0, seq) + packet)
    async with asyncio.timeout(10):
        while talk.answered < len(packets):
            talk.progress.clear()
            await talk.progress.wait()
    await socket.send(json.dumps({"type": "end"}))


async def _hear(socket: ClientConnection, talk: Talk) -> None:
    try:
        async for message in socket:
            if isinstance(message, bytes):
                talk.answered += 1
                talk.sound.append(message[HEADER.size :])
                talk.progress.set()
                continue
            event = json.loads(message)
            talk.events.append(event)
            if event["type"] == "ready":
                talk.conversation = event["conversation"]
                talk.live.set()
            elif event["type"] == "text":
                talk.pieces.append(event["piece"])
            elif event["type"] == "ended":
                talk.ended = event
    except ConnectionClosed:
        pass
