"""The ASGI application for requests of pages: from the client to a page and back.

One request, in order: its body, its place, its page, its answer. A small body is in
before a place is taken, and the place is given back as soon as the page process is
done: slow clients hold up no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from typing import Any, Protocol

from django.conf import settings

from personaplex_site.front import bodies, health, signed_in
from personaplex_site.front.answers import Refusal
from personaplex_site.front.bodies import Arriving
from personaplex_site.front.client import Client, ClientGone
from personaplex_site.front.counted import Counted
from personaplex_site.front.gate import Gate, Place
from personaplex_site.front.pace import Pace
from personaplex_site.front.relay import Body, NoAnswer

log = logging.getLogger(__name__)
unanswered = Counted(log, "requests that no page process answered")
asked_again = Counted(log, "requests asked a second time")
too_slow = Counted(log, "slow readers cut off, since all downloads were taken")

LARGE_ANSWER = 1_000_000  # bytes; such an answer is a download from the start
SLOW_SECONDS = 2.0  # that a client may hold up an answer before it is a download
HEARTBEAT = "/api/workers/heartbeat"


class PageAnswer(Protocol):
    status: int
    headers: list[tuple[bytes, bytes]]
    length: int | None

    @property
    def finished(self) -> bool: ...
    async def read(self) -> bytes: ...
    async def close(self) -> None: ...


class Pages(Protocol):
    async def ask(self, scope: Any, body: Body) -> PageAnswer: ...


class Front:
    def __init__(self, pages: Pages) -> None:
        self.gate, self.health = Gate(), health.Health()
        # A flood of one of the two does not hold up the other.
        self._pace, self._health_pace = Pace(), Pace()
        self._pages = pages

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        client = Client(scope, receive, send)
        arriving = Arriving(receive)
        try:
            if scope["path"] == "/healthz":
                await self._health_pace.turn()
                await self._tell_health(client)
            else:
                if not _is_machine(scope):
                    await self._pace.turn()
                await self._serve(scope, arriving, client)
        except Refusal as refusal:
            await self._refuse(refusal, arriving, client)
        except NoAnswer as error:
            unanswered.add(f"{scope['method']} {scope['path']}: {error}")
            await self._refuse(Refusal.unavailable(), arriving, client)
        except ClientGone:
            pass
        finally:
            arriving.close()

    async def _tell_health(self, client: Client) -> None:
        status, text = await self.health.answer()
        length = (b"content-length", str(len(text)).encode())
        await client.start(status, [*health.HEADERS, length])
        head_only = client.scope["method"] == "HEAD"
        await client.body(b"" if head_only else text, more=False)

    async def _refuse(
        self, refusal: Refusal, arriving: Arriving, client: Client
    ) -> None:
        if client.started:  # too late for words
            client.cut()
            return
        unread = client.daphne_request is None and not arriving.complete
        with contextlib.suppress(ClientGone):
            await client.refuse(refusal, unread=unread and _has_body(client.scope))

    async def _serve(self, scope: Any, arriving: Arriving, client: Client) -> None:
        if (upload := client.upload()) is not None:  # under Daphne: let in, and all in
            body = Body(upload.size, bodies.of_file(upload.file))
            await self._ask(scope, body, client, upload.place)
            return
        size = bodies.announced(scope)
        if size is None or size <= settings.SMALL_BODY_BYTES:
            whole = await arriving.small() if size != 0 else b""
            if whole is not None:
                places = self.gate.machines if _is_machine(scope) else self.gate.pages
                async with places.one() as place:
                    body = Body(len(whole), whole=whole)
                    await self._ask(scope, body, client, place)
                return
        who = await self.who_sends(_header(scope, b"cookie"))
        async with self.gate.uploads.one(who) as place:
            await self._ask(scope, Body(size, arriving.pieces()), client, place)

    async def who_sends(self, cookies: bytes) -> str:
        """The account that sends a large body. Raises Refusal."""
        who = await signed_in.sender(cookies)
        if not who:
            raise Refusal.not_signed_in()
        return who

    async def _ask(self, scope: Any, body: Body, client: Client, place: Place) -> None:
        client.check_there()
        answer = await self._answer(scope, body)
        try:
            await _Passing(self.gate, answer, client, place).run()
        finally:
            await answer.close()

    async def _answer(self, scope: Any, body: Body) -> PageAnswer:
        """Asked a second time if the page process died of the first: of another one.
        Not what changes something, which may have happened."""
        repeatable = scope["method"] in ("GET", "HEAD") and body.size == 0
        seconds = settings.PAGE_SECONDS
        if body.pieces is not None:
            seconds += settings.BODY_SECONDS
        try:
            async with asyncio.timeout(seconds):
                try:
                    return await self._pages.ask(scope, body)
                except NoAnswer as error:
                    if not repeatable:
                        raise
                    asked_again.add(f"{scope['path']}: {error}")
                    return await self._pages.ask(scope, body)
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {seconds} s") from error


class _Passing:
    """One answer on its way to its client, and the place that it holds meanwhile."""

    def __init__(
        self, gate: Gate, answer: PageAnswer, client: Client, place: Place
    ) -> None:
        self._gate, self._answer, self._client = gate, answer, client
        self._place = place
        self._is_download = False

    async def run(self) -> None:
        answer, client = self._answer, self._client
        if answer.length is not None and answer.length > LARGE_ANSWER:
            download = await self._gate.downloads.take(_who(client.scope))
            self._become_download(download)
        try:
            headers = answer.headers
            await client.start(answer.status, headers)
            while True:
                piece = await answer.read()
                last = answer.finished or not piece
                if last:  # the page process is free, however slow the client is
                    self._place.give()
                await self._send(piece, more=not last)
                if last:
                    break
        finally:
            self._place.give()

    async def _send(self, piece: bytes, more: bool) -> None:
        if self._is_download or not more:
            await self._client.body(piece, more)
            return
        try:
            await self._client.body(piece, more, SLOW_SECONDS)
        except TimeoutError:
            download = self._gate.downloads.take_now(_who(self._client.scope))
            if download is None:
                too_slow.add(self._client.scope["path"])
                self._client.cut()
                raise ClientGone from None
            self._become_download(download)
            await self._client.body(piece, more)

    def _become_download(self, download: Place) -> None:
        self._place.give()
        self._place, self._is_download = download, True


def _has_body(scope: Any) -> bool:
    return bodies.announced(scope) != 0


def _header(scope: Any, wanted: bytes) -> bytes:
    return b"; ".join(value for name, value in scope["headers"] if name == wanted)


def _is_machine(scope: Any) -> bool:
    """A worker that knows the secret: the places of heartbeats are for workers only."""
    if scope["path"] != HEARTBEAT:
        return False
    wanted = f"Bearer {settings.WORKER_SECRET}".encode()
    return hmac.compare_digest(_header(scope, b"authorization"), wanted)


def _who(scope: Any) -> str:
    """Whom an answer is for: a session, else an address."""
    key = signed_in.session_key(_header(scope, b"cookie"))
    peer = scope.get("client") or ("", 0)
    return key or str(peer[0])
