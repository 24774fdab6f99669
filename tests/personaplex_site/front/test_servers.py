"""The front door of both servers, from outside; the page process is a stand-in."""

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings

from tests.factories import UserFactory
from tests.personaplex_site.front.servers import (
    ask,
    cookie_of,
    is_whole,
    memory_mb,
    read_all,
    read_some,
    request,
    send,
    status,
    until,
    web,
)
from tests.personaplex_site.front.stand_in import StandIn

LIMITS = {
    "PAGE_PROCESSES": "1",
    "PAGE_THREADS": "2",
    "PAGE_WAITING": "2",
    "PAGE_WAIT_SECONDS": "60",
    "BODY_SECONDS": "3",
    "HEAD_SECONDS": "3",
    "SEND_SECONDS": "3",
    "MAX_UPLOADS": "2",
    "VOICE_MAX_BYTES": "3000000",
}
JSON = "Accept: application/json"


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request, django_db_setup, django_db_blocker):
    """Port, process and stand-in."""
    with (
        tempfile.TemporaryDirectory() as folder,
        django_db_blocker.unblock(),
    ):
        path = Path(folder, "pages.sock")
        stand_in = StandIn(path)
        try:
            with web(request.param, PAGES_SOCKET=str(path), **LIMITS) as (port, run):
                yield port, run, stand_in
        finally:
            stand_in.close()


@pytest.fixture
def port(site):
    return site[0]


@pytest.fixture
def pages(site):
    stand_in = site[2]
    stand_in.asked.clear()
    stand_in.go_on.clear()
    stand_in.cut_off.clear()
    stand_in.most_at_once = 0
    yield stand_in
    stand_in.go_on.set()
    until(lambda: not stand_in.at_once)


@pytest.fixture
def alice(transactional_db):
    return UserFactory(username="alice")


def test_a_request_arrives_as_it_was_sent(port, pages):
    answer = ask(
        port,
        *("POST", "/echo/%C3%A9?a=b%20c", "X-Forwarded-For: 10.1.2.3"),
        *("X-PersonaPlex-Peer: 6.6.6.6", "X-Personaplex-Scheme: https"),
        *("X_PersonaPlex_Peer: 6.6.6.6", "Keep-Alive: 5", "X-Forwarded-Proto: https"),
        body=b"small",
    )
    assert status(answer) == 200
    assert b"\r\nx-page: yes\r\n" in answer.lower()
    [(method, path, headers, body)] = pages.asked
    assert (method, path) == ("POST", "/echo/%C3%A9?a=b%20c")
    assert body == (5, hashlib.sha1(b"small").hexdigest())
    assert headers["Host"] == "localhost"
    assert headers["X-Forwarded-For"] == "10.1.2.3"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers.get_all("X-PersonaPlex-Peer") == ["127.0.0.1"]
    assert headers.get_all("X-PersonaPlex-Scheme") == ["http"]
    assert "Keep-Alive" not in headers
    assert not [name for name in headers if "_" in name]


def test_head_has_headers_only(port, pages):
    answer = ask(port, "HEAD", "/echo/")
    assert status(answer) == 200
    assert b"content-length: 6\r\n" in answer.lower()
    assert answer.endswith(b"\r\n\r\n")


def test_an_answer_is_passed_on_as_it_is_made(port, pages):
    client = send(port, request("GET", "/pieces/", "Connection: close"))
    client.settimeout(30)
    found = b""
    while b"first " not in found:
        found += client.recv(65_536)
    pages.go_on.set()
    assert (found + read_all(client)).endswith(b"first second")


def test_a_page_that_breaks_off_is_no_whole_page(port, pages):
    answer = ask(port, "GET", "/broken/")
    assert not is_whole(answer)


def test_a_signed_in_person_may_send_a_large_body(port, pages, alice):
    body = bytes(range(256)) * 4000
    answer = ask(port, "POST", "/echo/", f"Cookie: {cookie_of(alice)}", body=body)
    assert status(answer) == 200
    assert pages.asked[0][3] == (len(body), hashlib.sha1(body).hexdigest())


@pytest.mark.parametrize(
    "cookie",
    ["", f"Cookie: {settings.SESSION_COOKIE_NAME}=0123456789abcdefghijklmnopqrstuv"],
)
def test_a_stranger_is_refused_with_the_reason(port, pages, transactional_db, cookie):
    sent = [cookie] if cookie else []
    answer = ask(port, "POST", "/echo/", JSON, *sent, body=bytes(200_000))
    assert status(answer) == 403
    assert json.loads(answer.split(b"\r\n\r\n")[1])["code"] == "not_signed_in"
    assert not pages.asked


def test_no_server_reads_a_form_by_itself(port, pages, alice):
    """Twisted would: all of it, on the loop of live sound. And call this a bad one."""
    form = "Content-Type: multipart/form-data; boundary=x"
    cookie = f"Cookie: {cookie_of(alice)}"
    answer = ask(port, "POST", "/echo/", form, cookie, body=b"-" * 200_000)
    assert status(answer) == 200
    assert pages.asked[0][3][0] == 200_000


def test_without_a_length_too(port, pages, alice):
    cookie = f"Cookie: {cookie_of(alice)}"
    head = request("POST", "/echo/", "Transfer-Encoding: chunked", cookie)
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    answer = read_all(send(port, head + 9 * chunk + b"0\r\n\r\n"))
    assert status(answer) == 200
    assert pages.asked[0][3] == (9 * 0x4000, hashlib.sha1(bytes(147_456)).hexdigest())


def test_a_stranger_is_stopped_without_a_length_too(port, pages):
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    head = request("POST", "/echo/", "Transfer-Encoding: chunked", JSON)
    assert status(read_all(send(port, head + 4 * chunk))) == 403
    assert not pages.asked


def test_too_large_is_too_large_for_everybody(port, pages, alice):
    cookie = f"Cookie: {cookie_of(alice)}"
    answer = ask(port, "POST", "/echo/", cookie, JSON, length=9_000_000)
    assert status(answer) == 413
    head = request("POST", "/echo/", "Transfer-Encoding: chunked", cookie)
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    client = send(port, head)
    try:
        for _ in range(8):
            client.sendall(chunk)
    except ConnectionError:
        pass
    answer = read_all(client)
    assert not answer or status(answer) == 413


def test_the_gate_serves_some_lets_some_wait_and_refuses_the_rest(port, pages):
    with ThreadPoolExecutor(7) as others:
        all_of_them = [
            others.submit(ask, port, "GET", "/stuck/", seconds=90) for _ in range(7)
        ]
        # Two are served and two wait: then everybody else has been refused.
        until(lambda: sum(one.done() for one in all_of_them) == 3)
        answer = ask(port, "GET", "/echo/", JSON)
        assert status(answer) == 503
        assert b"\r\nretry-after: 5\r\n" in answer.lower()
        said = json.loads(answer.split(b"\r\n\r\n")[1])
        assert (said["code"], said["retryable"]) == ("busy", True)
        page = ask(port, "GET", "/echo/", "Accept: text/html")
        assert b"<h1>Just a moment</h1>" in page

        assert status(ask(port, "GET", "/healthz")) == 200
        secret = f"Authorization: Bearer {settings.WORKER_SECRET}"
        beat = ask(port, "POST", "/api/workers/heartbeat", secret, body=b"{}")
        assert status(beat) == 200  # of the stand-in
        wrong = ask(port, "POST", "/api/workers/heartbeat", "Authorization: Bearer x")
        assert status(wrong) == 503

        assert pages.most_at_once == 3  # with the heartbeat
        pages.go_on.set()
        answers = sorted(status(done.result(60)) for done in all_of_them)
        assert answers == [200] * 4 + [503] * 3


def test_slow_clients_are_cut_off_and_nothing_is_stored(site, pages, alice):
    """All at once: two that don't end their bodies, two their heads, two that read
    nothing of an answer without end."""
    port, web_process, _ = site
    before = memory_mb(web_process)
    readers = [send(port, request("GET", "/endless/"), 4096) for _ in range(2)]
    cookie = f"Cookie: {cookie_of(alice)}"
    bodies = [
        send(port, request("POST", "/echo/", cookie, JSON, length=length) + b"x")
        for length in (100, 100_000)
    ]
    heads = [send(port, b"GET /echo/ HTTP/1.1\r\nHost: localhost\r\n")]
    heads.append(send(port, request("GET", "/healthz")))
    assert status(read_some(heads[1])) == 200
    heads[1].sendall(b"GET /healthz HTTP/1.1\r\n")  # the second one of a connection

    for client in bodies:
        answer = read_all(client, 60)
        assert status(answer) == 408
        assert json.loads(answer.split(b"\r\n\r\n")[1])["code"] == "too_slow"
    for client in heads:
        assert read_all(client, 60) == b""
    assert pages.cut_off.wait(60)
    until(lambda: not pages.at_once, 60)
    assert memory_mb(web_process) - before < 20
    assert status(ask(port, "GET", "/echo/")) == 200
    for client in readers:
        client.close()
