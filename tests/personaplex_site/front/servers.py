"""Web and page processes as tests start them: by the product's own commands."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.test import Client

ROOT = Path(__file__).parents[3]
DAPHNE = [
    *("-m", "personaplex_site.daphne_server", "--verbosity", "0", "--fd", "{fd}"),
    "personaplex_site.asgi:application",
]
UVICORN = ["-m", "personaplex_site.uvicorn_server", "--fd", "{fd}"]
COMMANDS = {"daphne": DAPHNE, "uvicorn": UVICORN}


def environment(**more):
    """Of a process on the database of the tests."""
    database = connection.settings_dict
    host = f"{database['HOST']}:{database['PORT'] or 5432}"
    user = f"{database['USER']}:{database['PASSWORD']}".rstrip(":")
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.processes",
        "DATABASE_URL": f"postgres://{user}@{host}/{database['NAME']}",
        **more,
    }


@contextlib.contextmanager
def process(arguments, **options):
    started = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, **options)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextlib.contextmanager
def web(server, **settings_of_it):
    """A web process that answers; (port, process)."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        # Inherited by each connection: a client that reads nothing is noticed after
        # kilobytes, not after the megabytes that the kernel would keep.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        fd = listener.fileno()
        command = [word.format(fd=fd) for word in COMMANDS[server]]
        with process(
            command, env=environment(**settings_of_it), pass_fds=[fd]
        ) as started:
            port = listener.getsockname()[1]
            status(ask(port, "GET", "/healthz", seconds=60))
            yield port, started


def cookie_of(user):
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    return f"{name}={client.cookies[name].value}"


def request(method, path, *headers, body=b"", length=None):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if length is None and body:
        length = len(body)
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def send(port, data, receive_buffer=0):
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect(("127.0.0.1", port))
    client.sendall(data)
    return client


def read_some(client, seconds=30):
    """Up to the end of the connection, or of an answer that tells its length."""
    client.settimeout(seconds)
    found = b""
    with contextlib.suppress(ConnectionError):
        while not is_whole(found) and (data := client.recv(65_536)):
            found += data
    return found


def read_all(client, seconds=30):
    with client:
        return read_some(client, seconds)


def is_whole(answer):
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return bool(end and length and len(body) >= int(length[1]))


def ask(port, method, path, *headers, body=b"", length=None, seconds=30):
    """The whole answer."""
    closing = (*headers, "Connection: close")
    asked = request(method, path, *closing, body=body, length=length)
    return read_all(send(port, asked), seconds)


def status(answer):
    found = re.match(rb"HTTP/1\.[01] (\d+) ", answer)
    assert found, answer[:200]
    return int(found[1])


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return value


def memory_mb(started):
    pages = int(Path(f"/proc/{started.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
