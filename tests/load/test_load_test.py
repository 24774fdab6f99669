"""A small load test against a real web process and a worker that echoes."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from django.contrib.auth import get_user_model

from conversations.models import Conversation
from inference.engine.model_thread import ModelThread
from inference.worker.options import WorkerOptions
from inference.worker.server import WorkerServer
from tests.conversations.live.test_daphne import environment  # noqa: F401
from tests.factories import WorkerFactory
from tests.load import conversations
from tests.load.driver import run
from tests.load.echo_worker import LoadEngine


@pytest.fixture
def echo():
    """The worker, on a loop of its own; the engine, to misbehave with."""
    engine = LoadEngine(slots=8, tick_ms=0)
    thread = ModelThread(lambda: engine, batches=False)
    server = WorkerServer(thread, WorkerOptions(secret=_secret()))
    loop = asyncio.new_event_loop()
    running = threading.Thread(target=lambda: loop.run_until_complete(server.run()))
    running.start()
    until = time.monotonic() + 20
    while not server.admission.ready:
        assert time.monotonic() < until
        time.sleep(0.02)
    engine.url = server.status.public_url
    yield engine
    loop.call_soon_threadsafe(server.stop)
    running.join(20)


def _secret():
    from django.conf import settings

    return settings.WORKER_SECRET


@pytest.fixture
def web(environment):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "personaplex_site.daphne_server"),
                *("--verbosity", "0", "--fd", str(fd)),
                "personaplex_site.asgi:application",
            ],
            env=environment,
            pass_fds=[fd],
        )
        yield f"http://127.0.0.1:{port}"
        process.kill()
        process.wait()


def load_test(capsys, *arguments):
    """The figures, and what the command complained of."""
    conversations.main(arguments)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    return figures, figures["problems"]


@pytest.mark.django_db(transaction=True)
def test_four_conversations_get_every_frame_back(web, echo, monkeypatch, capsys):
    monkeypatch.setattr(run, "SETTLE_SECONDS", 0.2)
    WorkerFactory(url=echo.url, fingerprint=echo.info.fingerprint, slots=8)
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        web + "/healthz", timeout=30
    ).close()  # it has started

    arguments = ("--conversations=4", "--seconds=2", f"--url={web}", "--check=25")
    figures, problem = load_test(capsys, *arguments)

    assert problem == []
    assert figures["live"] == 4
    assert figures["sent"] >= 4 * 25 and figures["received"] == figures["sent"]
    assert figures["checked"] > 8 and figures["wrong"] == 0
    assert figures["added_latency_ms"]["p50"] > 0
    assert {"web", "worker", "postgres", "driver"} <= set(figures["processes"])
    assert figures["ended"] == {"user_ended": 4}
    assert not Conversation.objects.exists() and not get_user_model().objects.exists()

    # The same again, but each session is given the sound of the others.
    step, heard = echo._step, [None]

    def crossed(slot, frame):
        heard[0], other = frame, heard[0]
        return step(slot, frame if other is None else other)

    echo._step = crossed
    few = ("--conversations=2", "--seconds=1", f"--url={web}", "--check=100")
    figures, problem = load_test(capsys, *few)
    assert figures["wrong"] > figures["checked"] / 2
    assert any("wrong" in each for each in problem)
