"""Pages made in threads of the web process, through the front door."""

import asyncio
import logging
import threading

import pytest

from personaplex_site.front.application import Front
from personaplex_site.front.inside import Inside

SMALL, LARGE = 200, 100_000


class Browser:
    """One request to the front door, as a server would pass it on."""

    def __init__(self, method="GET", path="/", headers=(), body=b""):
        length = [(b"content-length", str(len(body)).encode())] if body else []
        self.scope = {
            **{"type": "http", "method": method, "path": path, "scheme": "http"},
            **{"raw_path": path.encode(), "query_string": b"a=1"},
            **{"headers": [*headers, *length], "client": ("10.0.0.9", 5)},
        }
        cuts = range(0, len(body), 50_000)
        self.pieces = [body[begin : begin + 50_000] for begin in cuts] or [b""]
        self.sent = []

    async def receive(self):
        if not self.pieces:
            await asyncio.Event().wait()
        piece = self.pieces.pop(0)
        return {
            "type": "http.request",
            "body": piece,
            "more_body": bool(self.pieces),
        }

    async def send(self, message):
        self.sent.append(message)

    async def ask(self, front):
        await front(self.scope, self.receive, self.send)
        start, *rest = self.sent
        assert not rest[-1]["more_body"]
        body = b"".join(message["body"] for message in rest)
        return start["status"], dict(start["headers"]), body


def front_of(application, threads=4):
    return Front(Inside(application, threads))


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("201 Created", [("X-Size", str(len(body))), ("Date", "now")])
    said = f"{environ['REMOTE_ADDR']} {environ['PATH_INFO']} {environ['QUERY_STRING']}"
    return [said.encode(), b" ", body[:5]]


@pytest.fixture
def signed_in(monkeypatch):
    async def sender(cookies):
        return "1"

    monkeypatch.setattr("personaplex_site.front.signed_in.sender", sender)


async def test_a_page_is_made_in_a_thread():
    status, headers, body = await Browser("POST", body=b"words").ask(front_of(echo))
    assert (status, body) == (201, b"10.0.0.9 / a=1 words")
    assert headers == {b"x-size": b"5"}


async def test_a_large_body_is_read_as_it_arrives(signed_in):
    asked = Browser("POST", body=b"x" * LARGE)
    status, headers, _ = await asked.ask(front_of(echo))
    assert (status, headers[b"x-size"]) == (201, str(LARGE).encode())


async def test_no_client_can_say_whose_a_request_is():
    asked = Browser(headers=[(b"x-personaplex-peer", b"6.6.6.6")])
    _, _, body = await asked.ask(front_of(echo))
    assert body.startswith(b"10.0.0.9 ")


async def test_a_large_answer_goes_in_small_pieces():
    def large(environ, start_response):
        start_response("200 OK", [("Content-Length", str(10 * LARGE))])
        return [bytes(10 * LARGE)]

    asked = Browser()
    _, _, body = await asked.ask(front_of(large))
    assert len(body) == 10 * LARGE
    assert max(len(message.get("body", b"")) for message in asked.sent) <= 65_536


async def test_a_page_that_fails_is_logged(caplog):
    def failing(environ, start_response):
        raise ValueError("why")

    with caplog.at_level(logging.ERROR):
        status, headers, body = await Browser().ask(front_of(failing))
    assert (status, headers[b"retry-after"]) == (503, b"5")
    assert b"why" not in body
    assert "why" in caplog.text


async def test_a_page_that_hangs_is_given_up(settings):
    settings.PAGE_SECONDS = 0.05
    over = threading.Event()

    def hanging(environ, start_response):
        over.wait(60)
        return []

    status, _, _ = await Browser().ask(front_of(hanging))
    over.set()
    assert status == 503


async def test_a_client_that_leaves_ends_the_thread_that_answers_it():
    ended = threading.Event()

    def endless(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(LARGE)
        finally:
            ended.set()

    asked = Browser()
    reading = asyncio.create_task(asked.ask(front_of(endless)))
    while len(asked.sent) < 3:
        await asyncio.sleep(0.01)
    reading.cancel()
    assert await asyncio.to_thread(ended.wait, 30)


async def test_all_bodies_together_have_a_bound(settings):
    settings.MAX_BODIES_MB = 0
    status, _, _ = await Browser("POST", body=b"x" * SMALL).ask(front_of(echo))
    assert status == 503
