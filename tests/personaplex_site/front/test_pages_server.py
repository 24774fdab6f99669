"""The product's own page processes, and how many connections all of it takes."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest
from django.db import connection

from personaplex_site.front.socket_file import reachable
from tests.factories import UserFactory
from tests.personaplex_site.front.servers import (
    ask,
    cookie_of,
    environment,
    process,
    read_all,
    request,
    status,
    until,
    web,
)

PAGES = ["-m", "personaplex_site.pages_server"]
SMALL = {
    "PAGE_PROCESSES": "1",
    "PAGE_THREADS": "4",
    "DB_POOL_PAGES": "3",
    "DB_POOL_WEB": "8",
    "DB_POOL_SECONDS": "60",
    "PAGE_WAITING": "200",
    "PAGE_WAIT_SECONDS": "100",
}


@pytest.fixture
def alice(transactional_db):
    return UserFactory(username="alice")


@pytest.fixture
def socket_path(tmp_path):
    # Longer than the address of a Unix socket may be.
    folder = tmp_path / ("a-long-name" * 9)
    folder.mkdir()
    return str(folder / "pages.sock")


def connections_of(name):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name]
        )
        return cursor.fetchone()[0]


def most_during_a_burst(port, cookie, name):
    """Statuses of 100 pages at once, and the most connections meanwhile."""
    with ThreadPoolExecutor(100) as crowd:
        answers = [
            crowd.submit(ask, port, "GET", "/", cookie, seconds=100) for _ in range(100)
        ]
        most = 0
        while not all(answer.done() for answer in answers):
            most = max(most, connections_of(name))
    return {status(answer.result()) for answer in answers}, most


def workers(started):
    return {child.pid for child in psutil.Process(started.pid).children()}


def has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_pages_never_take_more_connections_than_their_pool(alice, socket_path):
    cookie = f"Cookie: {cookie_of(alice)}"
    with ExitStack() as stack:
        more = {**SMALL, "PAGES_SOCKET": socket_path}
        for name, start in (("pages", None), ("web", "daphne")):
            env = environment(**more, PGAPPNAME=name)
            if start is None:
                stack.enter_context(process(PAGES, env=env))
            else:
                port, _ = stack.enter_context(web(start, **more, PGAPPNAME=name))
        until(lambda: status(ask(port, "GET", "/", cookie)) == 200)
        statuses, most = most_during_a_burst(port, cookie, "pages")
        assert statuses == {200}
        assert 1 <= most <= 3
        assert connections_of("web") <= 8


def test_nor_do_pages_inside_the_web_process(alice):
    with web("uvicorn", **SMALL, PAGES_SOCKET="", PGAPPNAME="inside") as (port, _):
        cookie = f"Cookie: {cookie_of(alice)}"
        statuses, most = most_during_a_burst(port, cookie, "inside")
        assert statuses == {200}
        assert most <= 8 + 4 + 8  # and threads of uploads, downloads, heartbeats


def test_a_page_process_does_not_wait_for_slow_readers(alice, socket_path):
    """Its answer fits into the socket, its reader takes nothing and does not hang up:
    gunicorn's own worker takes no other request for 2 s then, for each of them."""
    with process(PAGES, env=environment(**SMALL, PAGES_SOCKET=socket_path)):
        until(lambda: os.path.exists(socket_path))

        def page():
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(60)
            client.connect(reachable(socket_path))
            client.sendall(request("GET", "/sign-in/", "Connection: close"))
            return client

        assert status(read_all(page())) == 200
        slow = [page() for _ in range(30)]
        assert status(read_all(page())) == 200  # within 30 s, and not after 60
        for client in slow:
            client.close()


def test_killed_page_processes_come_back_on_the_same_socket(alice, socket_path):
    more = {**SMALL, "PAGES_SOCKET": socket_path}
    cookie = f"Cookie: {cookie_of(alice)}"
    with web("uvicorn", **more) as (port, _), ExitStack() as stack:
        # Asked before there is a page process: the request waits for it.
        with ThreadPoolExecutor(1) as early:
            asked = early.submit(ask, port, "GET", "/", cookie, seconds=60)
            first = stack.enter_context(process(PAGES, env=environment(**more)))
            until(lambda: asked.done(), 60)
        assert status(asked.result()) in (200, 503)
        [worker] = until(lambda: workers(first))
        psutil.Process(worker).kill()
        assert status(ask(port, "GET", "/", cookie)) == 200
        [worker] = until(lambda: workers(first) - {worker})

        first.send_signal(signal.SIGKILL)
        first.wait()
        second = stack.enter_context(process(PAGES, env=environment(**more)))
        until(lambda: has_ended(worker))  # and took no socket along
        until(lambda: status(ask(port, "GET", "/", cookie)) == 200)
        second.terminate()
        assert second.wait(30) == 0


def test_a_socket_file_that_is_gone_comes_back(alice, socket_path):
    """Nothing can reach the page processes any more; a supervisor starts them again."""
    env = environment(**SMALL, PAGES_SOCKET=socket_path)
    with process(PAGES, env=env) as started:
        until(lambda: os.path.exists(socket_path))
        os.unlink(socket_path)
        assert started.wait(60) == 1
