"""Large and endless bodies, against the ASGI application and against Daphne itself."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from personaplex_site.body_limit import BodyLimit

ROOT = Path(__file__).parents[2]
MOST = 1000


async def reading_application(scope, receive, send):
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


async def ask(pieces, length=None, accept=b"text/html"):
    """Status, headers, body, and how many pieces were taken."""
    taken, sent = [], []

    async def receive():
        taken.append(pieces[len(taken)])
        more = len(taken) < len(pieces)
        return {"type": "http.request", "body": taken[-1], "more_body": more}

    async def send(message):
        sent.append(message)

    headers = [(b"accept", accept)]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    scope = {"type": "http", "path": "/", "headers": headers}
    await BodyLimit(reading_application, MOST, MOST)(scope, receive, send)
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"], len(taken)


async def test_a_body_within_the_limit_arrives():
    assert (await ask([b"x" * 400, b"x" * 600]))[::2] == (200, b"1000")


async def test_a_long_one_is_refused_before_a_byte_is_read():
    status, _, body, taken = await ask([b"x"], length=500 * 2**20)
    assert (status, taken) == (413, 0)
    assert body.decode().startswith("This file is 500 MB; a voice sample may have")


async def test_one_without_length_is_refused_at_the_byte_too_many():
    status, _, _, taken = await ask([b"x" * 600] * 50)
    assert (status, taken) == (413, 2)


async def test_our_own_pages_get_json():
    _, headers, body, _ = await ask([b""], length=2000, accept=b"application/json")
    assert headers[b"content-type"] == b"application/json"
    assert json.loads(body)["code"] == "too_large"


async def test_a_socket_is_left_alone():
    passed = []

    async def application(*about):
        passed.append(about)

    about = ({"type": "websocket"}, None, None)
    await BodyLimit(application, MOST, MOST)(*about)
    assert passed == [about]


@pytest.fixture(scope="module")
def daphne(tmp_path_factory):
    """The real server with a limit of 1 MB and a bit; (port, pid)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data = tmp_path_factory.mktemp("data")
    limits = {"VOICE_MAX_BYTES": "1000000", "DATA_DIR": str(data), "DEBUG": "True"}
    command = [sys.executable, "-m", "personaplex_site.daphne_server"]
    address = ["-b", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        [*command, *address, "personaplex_site.asgi:application"],
        cwd=ROOT,
        env={**os.environ, **limits},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, server)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait(10)


def wait_for(port, server):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, "daphne ended"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.1)
    raise AssertionError("daphne does not answer")


def stored(pid):
    """Bytes in open temporary files, deleted or not, and resident memory."""
    sizes = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(fd).startswith("/tmp"):
                sizes.append(fd.stat().st_size)
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return sum(sizes), pages * os.sysconf("SC_PAGE_SIZE")


def push(daphne, head, piece, times):
    """Send on and on; what was answered, bytes sent, most stored, memory gained."""
    port, pid = daphne
    _, memory = stored(pid)
    most, sent = 0, 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head + b"\r\n")
        with contextlib.suppress(ConnectionError):
            for index in range(times):
                connection.sendall(piece)
                sent += len(piece)
                if index % 50 == 0:
                    most = max(most, stored(pid)[0])
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                answer += data
    return answer, sent, most, stored(pid)[1] - memory


HEAD = (
    b"POST /personas/new/ HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
)


def test_daphne_refuses_500_mb_at_its_length_and_stores_nothing(daphne):
    head = HEAD + b"Content-Length: 524288000\r\n"
    answer, _, most, gained = push(daphne, head, bytes(2**16), 8000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"This file is 500 MB; a voice sample may have at most 977 kB" in answer
    assert most == 0
    assert gained < 20 * 2**20


def test_daphne_stops_storing_an_endless_body(daphne):
    """Of somebody who has signed in: see test_servers.py of the front door."""
    head = HEAD + b"Transfer-Encoding: chunked\r\n"
    piece = b"10000\r\n" + bytes(2**16) + b"\r\n"
    answer, _, most, gained = push(daphne, head, piece, 3000)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert most <= 2**20
    assert gained < 20 * 2**20


def test_daphne_takes_little_from_everybody(daphne):
    head = HEAD + b"Connection: close\r\nContent-Length: 16000\r\n"
    answer, sent, _, _ = push(daphne, head, bytes(1_600), 10)
    assert sent == 16_000
    assert answer.startswith(b"HTTP/1.1 403 ")  # no CSRF token
    assert b"not_signed_in" not in answer


def test_daphne_takes_no_more_from_visitors_who_have_not_signed_in(daphne):
    head = HEAD + b"Connection: close\r\nContent-Length: 1900000\r\n"
    answer, _, most, _ = push(daphne, head, bytes(190_000), 10)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"not_signed_in" in answer
    assert b"You are signed out, and nothing was uploaded." in answer
    assert most <= 2**20


def test_daphne_keeps_serving(daphne):
    answer, *_ = push(
        daphne,
        b"GET /sign-in/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
        b"",
        1,
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
