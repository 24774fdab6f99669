"""The worker process: who may connect, health, readiness, stopping."""

import asyncio
import logging
import threading

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from inference.errors import NoWorker, WorkerStopping
from inference.worker import routes
from inference.worker import server as server_module
from inference.worker.client import WorkerSession
from inference.worker.options import WorkerOptions
from inference.worker.protocol import Open
from tests.inference.echo_engine import EchoEngine, frame_of
from tests.inference.worker.conftest import SECRET, running


async def get(rig, path, secret=None):
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(rig.http + path, headers=headers)


async def test_it_lives_before_it_is_ready():
    go = threading.Event()

    def load():
        go.wait(10)
        return EchoEngine()

    async with running(load=load, ready=False) as rig:
        assert (await get(rig, "/healthz")).status_code == 200
        loading = await get(rig, "/readyz")
        assert loading.status_code == 503 and "loading" in loading.text
        with pytest.raises(NoWorker, match="loading"):
            await WorkerSession.connect(rig.url, SECRET, Open("one"))
        go.set()
        await rig.until(lambda: rig.server.admission.ready)
        assert (await get(rig, "/readyz")).status_code == 200


async def test_it_may_be_stopped_while_it_loads_the_model(caplog):
    go = threading.Event()

    def load():
        go.wait(10)
        return EchoEngine()

    async with running(load=load, ready=False) as rig:
        rig.server.stop()
        stopping = asyncio.create_task(rig.stop())
        await rig.until(lambda: not rig.server._server.connections)
        await asyncio.sleep(0.1)  # what waited for the model has been cancelled
        go.set()
        assert await stopping == 0
    assert "The model thread ended" not in caplog.text


async def test_a_model_that_is_too_slow_is_not_served(caplog):
    engine = EchoEngine(tick_ms_at_start=123.4)
    async with running(engine, ready=False) as rig:
        await rig.until(lambda: "123 ms" in rig.server.admission.why_not)
        answer = await get(rig, "/readyz")
        assert answer.status_code == 503 and "takes 123 ms on cpu" in answer.text
        assert rig.server.status.heartbeat().why_not == answer.text.strip()
        with pytest.raises(NoWorker):
            await WorkerSession.connect(rig.url, SECRET, Open("one"))
    assert "Not serving: one step of echo takes 123 ms" in caplog.text


async def test_a_model_that_was_only_disturbed_is_served_later(monkeypatch):
    monkeypatch.setattr(server_module, "MEASURE_AGAIN_SECONDS", 0.1)
    engine = EchoEngine(tick_ms_at_start=123.4)
    async with running(engine, ready=False) as rig:
        await rig.until(lambda: "123 ms" in rig.server.admission.why_not)
        engine.tick_ms = 20.0
        await rig.until(lambda: rig.server.admission.ready)


async def test_a_model_that_is_too_slow_is_served_when_forced():
    engine = EchoEngine(tick_ms_at_start=123.4)
    async with running(engine, WorkerOptions(secret=SECRET, force=True)) as rig:
        assert (await get(rig, "/readyz")).status_code == 200


async def test_the_ready_line_says_what_runs_where(caplog):
    caplog.set_level(logging.INFO)
    async with running() as rig:
        assert f"Ready on {rig.url}: echo on cpu, 2 slots, 1.0 ms" in caplog.text


async def test_a_model_that_cannot_be_loaded_ends_the_process():
    def load():
        raise RuntimeError("no weights")

    async with running(load=load, ready=False) as rig:
        async with asyncio.timeout(10):
            assert await rig.task == 1


async def test_statistics_need_the_secret(rig):
    assert (await get(rig, "/stats")).status_code == 401
    assert (await get(rig, "/stats", "wrong")).status_code == 401
    assert (await get(rig, "/stats", "wröng".encode())).status_code == 401
    async with await WorkerSession.connect(rig.url, SECRET, Open("one")) as session:
        session.push(0, frame_of(1))
        await anext(session)
        answer = await get(rig, "/stats", SECRET)
    stats = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert (stats["sessions"], stats["frames"], stats["ready"]) == (1, 1, True)
    assert stats["prompt_cache"]["misses"] == 1


async def test_unknown_paths_are_refused(rig):
    assert (await get(rig, "/other", SECRET)).status_code == 404
    assert (await get(rig, "/session", SECRET)).status_code == 426
    with pytest.raises(InvalidStatus):
        async with rig.socket("/other"):
            pass


async def test_more_sockets_than_any_site_needs_are_refused(rig, monkeypatch):
    monkeypatch.setattr(routes, "MAX_SOCKETS", 1)
    async with rig.socket():
        with pytest.raises(NoWorker, match="503"):
            await WorkerSession.connect(rig.url, SECRET, Open("one"))


async def test_stopping_tells_the_sessions_and_takes_no_more(rig):
    session = await WorkerSession.connect(rig.url, SECRET, Open("one"))
    began = asyncio.get_running_loop().time()
    rig.server.stop()
    with pytest.raises(WorkerStopping) as caught:
        await anext(session)
    assert caught.value.code == "shutdown" and caught.value.retryable
    async with asyncio.timeout(10):
        assert await rig.task == 0
    assert asyncio.get_running_loop().time() - began < 5
    with pytest.raises(NoWorker):
        await WorkerSession.connect(rig.url, SECRET, Open("two"))


async def test_stopping_ends_a_session_that_is_still_priming():
    async with running(EchoEngine(chunk_seconds=0.2)) as rig:
        opening = asyncio.create_task(
            WorkerSession.connect(rig.url, SECRET, Open("x", role_prompt="x" * 500))
        )
        await rig.until(lambda: rig.server.thread.stats().sessions == 1)
        assert await rig.stop() == 0
        with pytest.raises(WorkerStopping):
            await opening


async def test_a_worker_whose_model_is_stuck_says_so_until_it_is_not(monkeypatch):
    monkeypatch.setattr(server_module, "STALL_SECONDS", 0.05)
    monkeypatch.setattr(server_module, "WATCH_SECONDS", 0.02)
    engine = EchoEngine()
    async with running(engine) as rig:
        session = await WorkerSession.connect(rig.url, SECRET, Open("one"))
        engine.held.clear()
        session.push(0, frame_of(0))
        await rig.until(lambda: not rig.server.status.heartbeat().ready)
        answer = await get(rig, "/readyz")
        assert (answer.status_code, answer.text) == (503, "the model thread is stuck\n")
        with pytest.raises(NoWorker, match="stuck"):
            await WorkerSession.connect(rig.url, SECRET, Open("two"))
        engine.held.set()
        await rig.until(lambda: rig.server.status.heartbeat().ready)
        await session.close()


async def test_a_hanging_tick_ends_the_process(monkeypatch, caplog):
    monkeypatch.setattr(server_module, "HANG_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(server_module, "CLOSE_SECONDS", 0.2)
    exited = asyncio.Event()
    monkeypatch.setattr(server_module.os, "_exit", lambda code: exited.set())
    engine = EchoEngine()
    async with running(engine) as rig:
        session = await WorkerSession.connect(rig.url, SECRET, Open("one"))
        engine.held.clear()
        session.push(0, frame_of(0))
        async with asyncio.timeout(10):
            await exited.wait()
        assert "hangs" in caplog.text
        await session.close()
