"""The whole product under its supervisor: what a person at the terminal relies on.

One data folder, and the tests in order: each takes the product as the last left it.
"""

import os
import re
import signal
import socket
import subprocess

import psutil
import psycopg
import pytest

from tests.up.product import RunningProduct, open_folder, processes_of, wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def product():
    with open_folder("up") as place:
        product = RunningProduct(place / "data")
        yield product
        if product.process is not None:
            product.stop()


@pytest.fixture
def running(product):
    if product.process is None or product.process.poll() is not None:
        product.start(talking=False)
    return product


def accounts(product):
    with psycopg.connect(product.environment_of_site()["DATABASE_URL"]) as database:
        return database.execute("SELECT username FROM auth_user").fetchall()


def test_a_bare_start_ends_with_one_address_and_how_to_sign_in(running):
    said = running.said()

    assert re.findall(r"after [\d.]+ s: (\S+)", said) == [running.address]
    assert str(running.data / "first-account.txt") in said
    assert "password: " in (running.data / "first-account.txt").read_text()
    assert "csrfmiddlewaretoken" in running.page("/sign-in/")
    assert accounts(running) == [("admin",)]


def test_servers_listen_to_this_machine_only(running):
    addresses = {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.pid in {process.pid for process in running.family()}
    }

    assert addresses == {"127.0.0.1"}


def test_secrets_are_on_no_command_line(running):
    secrets = (running.data / "secrets.env").read_text()
    lines = " ".join(running.command_lines())

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
    "what",
    ["daphne", "pages_server", "inference", "worker", "beat", "valkey", "postgres"],
)
def test_a_killed_child_comes_back(running, what):
    dead = running.kill(what)

    running.wait_for_another(what, dead)

    wait_until(lambda: '"redis": true' in health(running), 40)
    wait_until(lambda: '"database": true' in health(running), 40)
    wait_until(lambda: knows_a_worker(running), 60)


def knows_a_worker(product):
    """Whether the site has heard of it lately, however slow it is here."""
    with psycopg.connect(product.environment_of_site()["DATABASE_URL"]) as database:
        heard = database.execute(
            "SELECT now() - last_seen_at < interval '3 s' FROM inference_worker"
        ).fetchall()
    return heard == [(True,)]


def health(product):
    try:
        return product.page("/healthz")
    except OSError:
        return ""


def test_ctrl_c_stops_everything_in_order(running):
    took = running.stop(signal.SIGINT)

    stopped = re.findall(r"up +\| (\w+) (?:stopped|did not stop)", running.said())
    assert stopped[0] == "web"
    assert set(stopped[1:5]) == {"worker", "celery", "beat", "pages"}
    assert stopped[5:] == ["valkey", "postgres"]
    assert took < 17
    assert running.process.returncode == 0
    assert processes_of(running.data) == []


def test_a_second_start_is_quick_and_keeps_everything(product):
    secrets = (product.data / "secrets.env").read_bytes()
    password = (product.data / "first-account.txt").read_bytes()

    product.start(talking=False)

    assert (product.data / "secrets.env").read_bytes() == secrets
    assert (product.data / "first-account.txt").read_bytes() == password
    assert accounts(product) == [("admin",)]
    assert product.started_in < 40 or "PersonaPlex answers" in product.said()


def test_kill_9_of_the_supervisor_leaves_nothing_running(running):
    family = running.family()
    assert any("postgres" in process.name() for process in family)

    running.process.kill()
    running.process.wait()

    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert processes_of(running.data) == []


def test_a_stale_pid_file_with_a_strangers_number_is_no_obstacle(product):
    stranger = subprocess.Popen(["sleep", "600"])
    pid_file = product.data / "postgres" / "cluster" / "postmaster.pid"
    pid_file.write_text(f"{stranger.pid}\n/nowhere\n")
    try:
        product.start(talking=False)
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
    guest.start(talking=False)
    try:
        names = " ".join(guest.command_lines())
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
        assert guest.spawn().wait(60) == 2
    assert "The database of DATABASE_URL can't be used" in guest.said()
    assert "Redis does not answer at REDIS_URL" in guest.said()
    assert not os.path.exists(guest.data / "logs" / "setup.log")
