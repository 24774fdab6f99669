"""What strangers and members do to a site that they want to take down.

    python -m tests.load.attackers pages --url http://127.0.0.1:8000 --attackers 16 \
        --seconds 20 < attackers.json

Each kind is a loop that many attackers run at once against a site on this machine,
bounded in number and time. Reads the seats of signed-in attackers from standard input
and ends with one line of JSON: how often each answer came. It needs no Django.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.load.driver.websocket import TEXT, HandshakeRefused, WebSocket, frame

PAGES_A_SECOND = 500  # of all attackers together
ANSWER_SECONDS = 30.0
AGAIN_SECONDS = 0.05  # after a connection that was refused or closed
UPLOAD_BYTES = 30 * 1000 * 1000
PIECE = 64 * 1024
START = frame(TEXT, b'{"type": "start", "audio": "opus"}')
PING = 9
TOKEN = "a" * 32  # a CSRF secret; the form's field may be the same as the cookie


@dataclass
class Site:
    """The site, who attacks it, and what came of it."""

    host: str
    port: int
    seats: list[dict[str, str]]
    attackers: int
    until: float  # of time.monotonic
    answers: Counter[str]
    slowest_s: float = 0.0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def seat(self, number: int) -> dict[str, str]:
        return self.seats[number % len(self.seats)]

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        """One request on a connection of its own; its status is counted."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status = await self._ask(method, path, headers or {}, body)
        except TimeoutError:
            status = f"no answer in {ANSWER_SECONDS:.0f} s"
        except OSError as error:
            status = type(error).__name__
        self.answers[status] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> str:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(self.head(method, path, headers, len(body)))
            with suppress(ConnectionError):  # it may have answered already
                for start in range(0, len(body), PIECE):
                    writer.write(body[start : start + PIECE])
                    await writer.drain()
            first = await reader.readline()
            while await reader.read(PIECE):
                pass
            return ([*first.split(b" "), b"nothing"])[1].decode() or "nothing"
        finally:
            writer.close()

    def head(
        self, method: str, path: str, headers: dict[str, str], length: int
    ) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["Connection: close", f"Content-Length: {length}", "", ""]
        return "\r\n".join(lines).encode()


Attack = Callable[[Site, int], Awaitable[None]]


async def pages(site: Site, number: int) -> None:
    """Pages at PAGES_A_SECOND, three of four by anonymous visitors."""
    pause = site.attackers / PAGES_A_SECOND
    cookie = {"Cookie": site.seat(number)["cookie"]}
    asked = [("/", {}), ("/sign-in/", {}), ("/", cookie), ("/healthz", {})]
    due = time.monotonic()
    turn = number
    pending: set[asyncio.Task[None]] = set()
    while not site.over:
        path, headers = asked[turn % len(asked)]
        turn += 1
        if len(pending) < max(4, 64 // site.attackers):
            task = asyncio.create_task(site.ask("GET", path, headers))
            pending.add(task)
            task.add_done_callback(pending.discard)
        due += pause
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    await asyncio.gather(*pending)


async def health(site: Site, number: int) -> None:
    """The address that load balancers ask, as quickly as it answers."""
    while not site.over:
        await site.ask("GET", "/healthz")


async def sign_in(site: Site, number: int) -> None:
    """Wrong passwords for names that do not exist."""
    while not site.over:
        form = {"username": secrets.token_hex(8), "password": secrets.token_hex(8)}
        body = urlencode({**form, "csrfmiddlewaretoken": TOKEN}).encode()
        headers = {
            "Cookie": f"{site.seat(number)['csrf_cookie']}={TOKEN}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        await site.ask("POST", "/sign-in/", headers, body)


async def texts(site: Site, number: int) -> None:
    """Large and small messages, as many as the connection takes."""
    large = json.dumps({"type": "stats", "latency_ms": 1, "x": "y" * 8000}).encode()
    small = json.dumps({"type": "stats"}).encode()
    message = frame(TEXT, small if number % 2 else large)
    await _flood(site, number, message * max(1, PIECE // len(message)))


async def pings(site: Site, number: int) -> None:
    """Pings by the thousand, whose pongs are never read."""
    await _flood(site, number, frame(PING, b"p" * 100) * (PIECE // 106), reads=False)


async def _flood(site: Site, number: int, piece: bytes, *, reads: bool = True) -> None:
    seat = site.seat(number)
    base = f"ws://{site.host}:{site.port}/ws/personas/{seat['persona']}/talk/"
    while not site.over:
        gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            socket = await WebSocket.connect(
                base,
                seat["cookie"],
                lambda kind, payload: None,
                lambda code, gone=gone: gone.done() or gone.set_result(code),
            )
        except (OSError, TimeoutError, HandshakeRefused) as error:
            site.answers[type(error).__name__] += 1
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        socket.send(START)
        if not reads:
            socket.pause()
        while not site.over and not gone.done():
            # An attacker's own memory is not the question: what is not yet taken by
            # the site waits here.
            if socket.unsent() < 4 * PIECE:
                socket.send(piece)
                site.answers["pieces sent"] += 1
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0.005)
        code = gone.result() if gone.done() else "open at the end"
        site.answers[f"closed {code}"] += 1
        if not gone.done():
            socket.abort()
        await asyncio.sleep(AGAIN_SECONDS)


async def uploads(site: Site, number: int) -> None:
    """30 MB as quickly as the site takes it, from people who are signed in."""
    seat = site.seat(number)
    edge = secrets.token_hex(8)
    part = (
        f"--{edge}\r\nContent-Disposition: form-data; name="
        f'"csrfmiddlewaretoken"\r\n\r\n{TOKEN}\r\n--{edge}\r\n'
        'Content-Disposition: form-data; name="voice"; filename="a.wav"\r\n\r\n'
    )
    body = part.encode() + bytes(UPLOAD_BYTES) + f"\r\n--{edge}--\r\n".encode()
    headers = {
        "Cookie": f"{seat['cookie']}; {seat['csrf_cookie']}={TOKEN}",
        "Content-Type": f"multipart/form-data; boundary={edge}",
        "Accept": "application/json",
    }
    while not site.over:
        await site.ask("POST", f"/personas/{seat['persona']}/voice/", headers, body)


async def bodies(site: Site, number: int) -> None:
    """A large body from an anonymous visitor, of which ever less arrives."""
    head = site.head("POST", "/sign-in/", {}, UPLOAD_BYTES)
    while not site.over:
        try:
            reader, writer = await asyncio.open_connection(site.host, site.port)
            try:
                await _trickle(site, head, reader, writer)
            finally:
                writer.close()
        except OSError as error:
            site.answers[type(error).__name__] += 1
        await asyncio.sleep(AGAIN_SECONDS)


async def _trickle(
    site: Site, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    answer = asyncio.ensure_future(reader.readline())
    writer.write(head + bytes(PIECE))
    while not site.over and not answer.done():
        if not writer.transport.get_write_buffer_size():
            writer.write(bytes(PIECE))
        await asyncio.wait({answer}, timeout=0.2)
    if answer.done():
        first = answer.result() if not answer.exception() else b""
        site.answers[([*first.split(b" "), b"cut off"])[1].decode() or "cut off"] += 1
    else:
        answer.cancel()
        site.answers["open at the end"] += 1


async def downloads(site: Site, number: int) -> None:
    """A recording again and again; every second attacker reads none of it."""
    seat = site.seat(number)
    path = f"/conversations/{seat['recording']}/both.ogg"
    cookie = {"Cookie": seat["recording_cookie"]}
    while not site.over:
        if number % 2 == 0:
            await site.ask("GET", path, cookie)
            continue
        try:
            reader, writer = await asyncio.open_connection(site.host, site.port)
        except OSError as error:
            site.answers[type(error).__name__] += 1
            continue
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(site.head("GET", path, cookie, 0))
        left = max(0.0, site.until - time.monotonic())
        await asyncio.sleep(min(5.0, left))
        writer.transport.abort()
        site.answers["never read"] += 1


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        *(pages, health, sign_in, texts, pings),
        *(uploads, bodies, downloads),
    )
}


async def run(given: argparse.Namespace, seats: list[dict[str, str]]) -> dict[str, Any]:
    parts = urlsplit(given.url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise SystemExit("Only a site on this machine is attacked.")
    site = Site(
        *(parts.hostname, parts.port or 80, seats, given.attackers),
        until=time.monotonic() + given.seconds,
        answers=Counter(),
    )
    attack = ATTACKS[given.kind]
    await asyncio.gather(*(attack(site, n) for n in range(given.attackers)))
    return {"answers": dict(site.answers), "slowest_s": round(site.slowest_s, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted(ATTACKS))
    parser.add_argument("--url", required=True)
    parser.add_argument("--attackers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    seats = json.load(sys.stdin)
    sys.stdout.write(json.dumps(asyncio.run(run(given, seats))) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
