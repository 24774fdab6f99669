"""The whole product under its supervisor: what a person at the terminal relies on.

One data folder, and the tests in order: each takes the product as the last left it.
"""

import os
import signal
import socket
import subprocess
import time

import psutil
import psycopg
import pytest

from tests.up.product import RunningProduct, processes_of, wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    place = tmp_path_factory.mktemp("up")
    # Root's PostgreSQL is another account: pytest's folders are closed to it.
    for folder in (place, *place.parents[:2]):
        folder.chmod(0o711)
    product = RunningProduct(place / "data")
    yield product
    if product.process is not None:
        product.stop()


@pytest.fixture
def running(product):
    if product.process is None or product.process.poll() is not None:
        product.start()
    return product


def accounts(product):
    with psycopg.connect(product.environment_of_site()["DATABASE_URL"]) as database:
        return database.execute("SELECT username FROM auth_user").fetchall()


def test_a_bare_start_ends_with_one_address_and_how_to_sign_in(running):
    said = running.said()

    assert said.count(running.address) == 1
    assert str(running.data / "first-account.txt") in said
    assert "password: " in (running.data / "first-account.txt").read_text()
    assert "csrfmiddlewaretoken" in running.page("/sign-in/")
    assert accounts(running) == [("admin",)]


def test_servers_listen_to_this_machine_only(running):
    ports = {
        connection.laddr.ip
        for process in running.family()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }

    assert ports == {"127.0.0.1"}


def test_secrets_are_on_no_command_line(running):
    secrets = (running.data / "secrets.env").read_text()
    lines = " ".join(" ".join(p.cmdline()) for p in running.family())

    assert not [x for x in secrets.split() if x.partition("=")[2] in lines]


def test_a_second_one_on_the_same_data_is_refused(running):
    other = RunningProduct(running.data)
    other.output = running.data.parent / "second.output"

    assert other.spawn().wait(30) == 1
    assert f"is in use: process {running.process.pid} serves" in other.said()
    assert running.page("/sign-in/")


def test_a_taken_port_is_said_before_anything_starts(running):
    other = RunningProduct(running.data.parent / "other", port=running.port)

    assert other.spawn().wait(30) == 1
    assert f"Port {running.port} on 127.0.0.1 can't be used" in other.said()
    assert not other.data.exists()


@pytest.mark.parametrize(
    "what", ["daphne", "inference", "celery", "valkey", "postgres"]
)
def test_a_killed_child_comes_back(running, what):
    dead = running.kill(what)

    running.wait_for_another(what, dead)

    wait_until(lambda: '"redis": true' in health(running), 40)
    wait_until(lambda: '"database": true' in health(running), 40)
    wait_until(lambda: '"workers": 1' in health(running), 40)


def health(product):
    try:
        return product.page("/healthz")
    except OSError:
        return ""


def test_ctrl_c_stops_everything_in_order(running):
    took = running.stop(signal.SIGINT)

    stopped = [x.split()[2] for x in running.said().splitlines() if " stopped (" in x]
    assert stopped[0] == "web"
    assert set(stopped[1:3]) == {"worker", "celery"}
    assert stopped[3:] == ["valkey", "postgres"]
    assert took < 15
    assert running.process.returncode == 0
    assert processes_of(running.data) == []


def test_a_second_start_is_quick_and_keeps_everything(product):
    secrets = (product.data / "secrets.env").read_bytes()
    password = (product.data / "first-account.txt").read_bytes()

    product.start()

    assert (product.data / "secrets.env").read_bytes() == secrets
    assert (product.data / "first-account.txt").read_bytes() == password
    assert accounts(product) == [("admin",)]
    assert product.started_in < 40


def test_kill_9_of_the_supervisor_leaves_nothing_running(running):
    family = running.family()
    assert any("postgres" in process.name() for process in family)

    running.process.kill()
    running.process.wait()

    wait_until(lambda: processes_of(running.data) == [], 10)
    assert not [p for p in family if p.is_running() and p.status() != "zombie"]


def test_a_stale_pid_file_with_a_strangers_number_is_no_obstacle(product):
    stranger = subprocess.Popen(["sleep", "600"])
    pid_file = product.data / "postgres" / "cluster" / "postmaster.pid"
    pid_file.write_text(f"{stranger.pid}\n/nowhere\n")
    try:
        product.start()
        assert accounts(product) == [("admin",)]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_given_servers_are_used_and_none_is_started(running):
    site = running.environment_of_site()
    guest = RunningProduct(
        running.data.parent / "guest",
        DATABASE_URL=site["DATABASE_URL"],
        REDIS_URL=site["REDIS_URL"],
    )
    guest.start()
    try:
        names = " ".join(" ".join(p.cmdline()) for p in guest.family())
        assert "postgres" not in names and "valkey" not in names
        assert not (guest.data / "postgres").exists()
        assert not (guest.data / "first-account.txt").exists()
    finally:
        guest.stop()


def test_an_unreachable_database_is_said_in_one_place(product, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        guest = RunningProduct(
            tmp_path / "guest",
            DATABASE_URL=f"postgres://nobody@127.0.0.1:{port}/nothing",
            REDIS_URL=f"redis://127.0.0.1:{port}/0",
        )
        begun = time.monotonic()
        assert guest.spawn().wait(60) == 1
    assert "The database of DATABASE_URL can't be used" in guest.said()
    assert time.monotonic() - begun < 30
    assert os.path.exists(guest.data / "logs" / "setup.log")
