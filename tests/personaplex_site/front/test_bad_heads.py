"""Requests that no page is made for: too long, too large or not HTTP, as raw bytes.

Some are refused by Daphne or uvicorn, some by gunicorn behind them. All get a sentence.
"""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.personaplex_site.front.servers import (
    ask,
    environment,
    process,
    read_all,
    request,
    send,
    status,
    until,
    web,
)

PAGES = ["-m", "personaplex_site.pages_server"]
JSON, PAGE = "Accept: application/json", "Accept: text/html"
LONG = "/" + "a" * 9_000
COOKIE = "Cookie: a=" + "b" * 9_000


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def port(request, django_db_setup, django_db_blocker):
    with (
        tempfile.TemporaryDirectory() as folder,
        django_db_blocker.unblock(),
        ExitStack() as stack,
    ):
        more = {"PAGE_PROCESSES": "1", "PAGES_SOCKET": str(Path(folder, "p.sock"))}
        stack.enter_context(process(PAGES, env=environment(**more)))
        port, _ = stack.enter_context(web(request.param, **more))
        until(lambda: status(ask(port, "GET", "/sign-in/")) == 200, 60)
        yield port


def body_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"<h1><p>" not in body and b"gunicorn" not in answer
    assert f"content-length: {len(body)}".encode() in head.lower()
    return body


@pytest.mark.parametrize(
    ("path", "header", "code", "text"),
    [
        (LONG, "X-A: 1", 414, "longer than any that this site has"),
        ("/", COOKIE, 431, "Delete the cookies of this site"),
        (
            "/",
            "\r\n".join(f"X-{n}: 1" for n in range(250)),
            431,
            "Delete the cookies of this site",
        ),
    ],
    ids=["address", "cookie", "headers"],
)
def test_what_gunicorn_refuses_is_an_answer_of_ours(port, path, header, code, text):
    answer = ask(port, "GET", path, header, JSON)
    assert status(answer) == code
    problem = json.loads(body_of(answer))
    assert text in problem["text"] and problem["retryable"] is False
    page = ask(port, "GET", path, header, PAGE)
    assert status(page) == code
    assert text in body_of(page).decode() and b"<main><h1>" in page
    plain = ask(port, "GET", path, header)
    assert text in body_of(plain).decode() and b"text/plain" in plain
    nothing = ask(port, "HEAD", path, header)
    assert status(nothing) == code and nothing.endswith(b"\r\n\r\n")


def test_the_codes_are_those_of_the_product(port):
    codes = [
        json.loads(body_of(ask(port, "GET", path, header, JSON)))["code"]
        for path, header in ((LONG, "X-A: 1"), ("/", COOKIE))
    ]
    assert codes == ["address_too_long", "headers_too_large"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"A-METHOD-THAT-IS-NOT-KNOWN / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 500_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X-A: 1\r\n" * 60_000, 431),
        (b"GET /" + b"a" * 500_000, 431),
    ],
    ids=["no HTTP", "no header", "no method", "a header", "headers", "a line"],
)
def test_what_the_web_server_refuses_has_a_sentence(port, data, code):
    answer = read_all(send(port, data))
    assert status(answer) == code
    body = body_of(answer).decode()
    assert body.endswith(".") and "<" not in body and len(body) > 40


def test_what_comes_after_it_is_served(port):
    for data in (b"hello\r\n\r\n", request("GET", LONG)):
        read_all(send(port, data))
    assert status(ask(port, "GET", "/sign-in/")) == 200
