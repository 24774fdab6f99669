"""``scripts/up --model``: what is fetched first, and what is said meanwhile."""

import asyncio
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from inference.__main__ import main
from inference.hub.download import MOSHI, PERSONAPLEX, is_complete
from inference.loading.checkpoint import BUILT_IN, built_in_models
from inference.worker.admission import Admission
from personaplex_site.up import launch as launch_module
from personaplex_site.up.console import Console
from personaplex_site.up.errors import CannotStart, WrongSetting
from personaplex_site.up.folder import DataFolder
from personaplex_site.up.launch import LOADING, Launch
from personaplex_site.up.options import MODELS
from personaplex_site.up.product import (
    BASE_DIR,
    Options,
    Product,
    check_model,
    free_ports,
)
from tests.inference.hub.stand_in import TOKEN, StandInHub
from tests.inference.models import toy_files
from tests.serving import serve_in_thread

sys.path.append(str(BASE_DIR / "scripts"))
from prepare import given_data, given_model_folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """PersonaPlex' repository in small, gated as it is, for the next process."""
    with StandInHub(PERSONAPLEX.repository, toy_files(), gated=True) as hub:
        hub.revisions.add(PERSONAPLEX.revision)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


@pytest.fixture
def said(monkeypatch):
    """What people read on the terminal."""
    lines = []
    for name in ("say", "announce"):
        monkeypatch.setattr(Console, name, lambda self, text: lines.append(text))
    monkeypatch.setattr(
        Console, "child", lambda self, name, text: lines.append(f"{name}: {text}")
    )
    return lines


@pytest.fixture
def launch(tmp_path):
    console = Console()
    yield lambda **options: Launch(
        Options(tmp_path / "data", **options), DataFolder(tmp_path / "data"), console
    )
    console.close()


async def test_it_is_downloaded_once_and_then_left_alone(
    hub, launch, said, monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    await launch(model="personaplex-7b")._fetch_model()
    assert is_complete(tmp_path / "models" / "personaplex-7b")
    assert any("2 voices, downloaded in" in line for line in said)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["download", "--model", "personaplex-7b", "--if-missing"]) == 0


async def test_what_is_missing_is_said_in_plain_words(hub, launch, said):
    with pytest.raises(CannotStart) as refused:
        await launch(model="personaplex-7b")._fetch_model()
    assert "The model personaplex-7b can't be served yet:\n" in str(refused.value)
    assert "set HF_TOKEN" in str(refused.value)
    assert "ERROR" not in str(refused.value), "a sentence, no log line"


def test_a_folder_is_looked_at_and_a_built_in_model_left_alone(tmp_path, caplog):
    assert main(["download", "--if-missing", "--model", str(tmp_path)]) == 1
    assert f"{tmp_path} holds no config.json" in caplog.text
    assert main(["download", "--if-missing", "--model", "tiny"]) == 0
    assert main(["download", "--if-missing", "--model", "tinny"]) == 1
    assert "tinny is no directory, and no model that is here (tiny)" in caplog.text
    assert main(["download", "--if-missing", "--model", str(BUILT_IN / "tiny")]) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [("/srv/modell", "There is no folder /srv/modell."), ("tinny", "no model tinny.")],
)
def test_a_model_that_is_not_there_is_reported_at_once(given, said):
    with pytest.raises(WrongSetting) as refused:
        check_model(given)
    assert said in str(refused.value)
    assert "tiny, personaplex-7b, moshiko or moshika" in str(refused.value)


def test_a_model_that_is_there_or_can_be_fetched_is_not_refused(tmp_path, monkeypatch):
    known = [source.folder for source in (PERSONAPLEX, *MOSHI)]
    assert sorted(MODELS) == sorted([*built_in_models(), *known])
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    (tmp_path / "ours").mkdir()
    for model in (*MODELS, "ours", str(tmp_path)):
        check_model(model)


def test_the_worker_gets_its_model(tmp_path):
    def worker(**options):
        made = Options(tmp_path, **options)
        return Product(made, DataFolder(tmp_path), {}).worker().argv

    assert worker(model="personaplex-7b")[-2:] == ["--model", "personaplex-7b"]
    assert "--model" not in worker()


def test_the_worker_takes_all_gpus_unless_some_are_named(tmp_path, monkeypatch):
    def gpus():
        product = Product(Options(tmp_path), DataFolder(tmp_path), {})
        argv = product.worker().argv
        return argv[argv.index("--gpus") + 1]

    monkeypatch.delenv("WORKER_GPUS", raising=False)
    assert gpus() == "auto"
    monkeypatch.setenv("WORKER_GPUS", "0,2")
    assert gpus() == "0,2"


def test_the_workers_of_several_gpus_find_free_ports_in_a_row():
    first = free_ports(4)
    for port in range(first, first + 4):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_folders_are_those_of_the_caller(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL", raising=False)
    assert given_model_folder(["--model", "weights"]) == tmp_path / "weights"
    assert given_model_folder(["--model=weights"]) == tmp_path / "weights"
    assert given_model_folder(["--model", "personaplex-7b"]) is None
    assert given_model_folder(["--port", "weights"]) is None
    monkeypatch.setenv("MODEL", "weights")
    assert given_model_folder([]) == tmp_path / "weights"
    assert given_data(["--data", "one", "--data=two"]) == Path(tmp_path / "two")


class Machine:
    """A site and a worker in one server: /healthz and /readyz."""

    def __init__(self):
        self.workers, self.reason = 0, LOADING
        machine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                ready = self.path == "/healthz" or not machine.reason
                text = f'{{"workers": {machine.workers}}}'
                if self.path == "/readyz":
                    text = machine.reason or "ready"
                self.send_response(200 if ready else 503)
                self.end_headers()
                self.wfile.write(text.encode() + b"\n")

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        serve_in_thread(self.server)


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.server.shutdown()
    machine.server.server_close()


class Worker:
    deaths = 0


async def waiting(launch, machine, seconds, monkeypatch):
    monkeypatch.setattr(launch_module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(launch_module, "WORKER_SECONDS", seconds)
    up = launch(port=machine.port)
    address = f"http://127.0.0.1:{machine.port}"
    return asyncio.create_task(up._a_conversation_is_live(Worker(), address))


async def until(said, text):
    async with asyncio.timeout(10):
        while not any(text in line for line in said):
            await asyncio.sleep(0.01)


async def test_a_machine_that_is_too_slow_is_reported_with_the_figure(
    launch, machine, said, monkeypatch
):
    machine.reason = "one step of tiny takes 156 ms on cpu"
    task = await waiting(launch, machine, 60, monkeypatch)
    await until(
        said, "No conversations are possible yet: one step of tiny takes 156 ms on cpu"
    )
    machine.reason, machine.workers = "", 1  # something else was running
    await task
    assert len([line for line in said if "PersonaPlex answers" in line]) == 1


async def test_a_large_model_is_waited_for(launch, machine, said, monkeypatch):
    task = await waiting(launch, machine, 0.1, monkeypatch)
    await until(said, f"No conversations are possible yet: {LOADING}")
    machine.workers = 1
    await task


def test_the_words_of_a_loading_worker_are_known_here():
    assert Admission().why_not == LOADING
