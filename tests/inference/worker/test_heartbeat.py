"""The worker's side of the heartbeat, against a site that notes what it gets."""

import asyncio
import json
import logging
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import psutil
import pynvml
import pytest

from inference.worker import heartbeat_sender, telemetry
from inference.worker.client import WorkerSession
from inference.worker.heartbeat import dump_heartbeat, parse_heartbeat
from inference.worker.options import WorkerOptions
from inference.worker.protocol import Open
from inference.worker.telemetry import Telemetry
from tests.inference.echo_engine import EchoEngine, frame_of
from tests.inference.worker.conftest import SECRET, running


class Site:
    """The least HTTP server that a heartbeat needs."""

    def __init__(self):
        self.status, self.requests, self.port = 204, [], 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    @property
    def beats(self):
        return [parse_heartbeat(body) for _, body in self.requests]

    async def answer(self, reader, writer):
        while head := await self.head(reader):
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            self.requests.append((head, await reader.readexactly(length)))
            writer.write(
                f"HTTP/1.1 {self.status} X\r\ncontent-length: 0\r\n\r\n".encode()
            )
        writer.close()

    async def head(self, reader):
        try:
            return (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return ""

    @asynccontextmanager
    async def open(self):
        server = await asyncio.start_server(self.answer, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()


def telling(site, every=60.0):
    return WorkerOptions(secret=SECRET, site=site.url, heartbeat_seconds=every)


async def test_a_heartbeat_follows_when_the_worker_is_ready_and_when_sessions_change():
    async with Site().open() as site, running(options=telling(site)) as rig:
        await rig.until(lambda: site.requests and site.beats[-1].ready)
        head, _ = site.requests[0]
        assert head.startswith("POST /api/workers/heartbeat HTTP/1.1")
        assert f"Authorization: Bearer {SECRET}".lower() in head.lower()
        said = site.beats[-1]
        assert (said.url, said.model, said.slots) == (rig.url, "echo", 2)
        assert said.name == f"{socket.gethostname()}:{rig.server.port}"
        async with await WorkerSession.connect(rig.url, SECRET, Open("one")) as talk:
            await rig.until(lambda: site.beats[-1].sessions == 1)
            talk.push(0, frame_of(0))
            await anext(talk)
        await rig.until(lambda: site.beats[-1].sessions == 0)
        last = site.beats[-1]
        assert last.frames == 1 and last.hardware.ram_total_mb > 0
        assert not any(beat.stopping for beat in site.beats)
        await rig.stop()
        assert site.beats[-1].ready is False
        assert site.beats[-1].stopping


async def test_changes_within_half_a_second_are_one_beat():
    async with Site().open() as site, running(options=telling(site)) as rig:
        await rig.until(lambda: site.requests and site.beats[-1].ready)
        await asyncio.sleep(heartbeat_sender.MIN_GAP)
        before = len(site.requests)
        for _ in range(20):
            rig.server.sessions_changed()
            await asyncio.sleep(0.01)
        await asyncio.sleep(heartbeat_sender.MIN_GAP + 0.2)
        assert len(site.requests) - before <= 2


async def test_it_beats_without_a_change():
    async with Site().open() as site, running(options=telling(site, every=0.5)) as rig:
        await rig.until(lambda: len(site.requests) >= 4)


async def test_a_site_that_is_still_starting_is_no_warning(caplog):
    """scripts/up starts the worker first, which loads its model meanwhile."""
    caplog.set_level(logging.INFO)
    site = Site()
    async with site.open():
        pass
    async with running(options=telling(site, every=0.2)) as rig:
        await asyncio.sleep(0.6)
        site.status = 503  # the web process is there, its page processes are not
        async with site.open():
            await rig.until(lambda: site.requests)
            site.status = 204
            count = len(site.requests)
            await rig.until(lambda: len(site.requests) > count + 1)
    assert "heartbeats" not in caplog.text


async def test_a_site_that_is_away_is_logged_once_and_disturbs_no_session(
    caplog, monkeypatch
):
    monkeypatch.setattr(heartbeat_sender, "START_SECONDS", 1.0)
    caplog.set_level(logging.INFO)
    site = Site()
    async with site.open():
        pass  # its port is known now, and closed
    async with running(options=telling(site, every=0.5)) as rig:
        async with await WorkerSession.connect(rig.url, SECRET, Open("one")) as talk:
            for number in range(20):
                talk.push(number, frame_of(number))
                assert (await anext(talk)).seq == number
                await asyncio.sleep(0.08)
        assert caplog.text.count("does not take heartbeats") == 1
        async with site.open():
            await rig.until(lambda: site.requests)
            await rig.until(lambda: "takes heartbeats again" in caplog.text)


async def test_a_site_that_refuses_is_logged_with_its_answer(caplog):
    async with Site().open() as site:
        site.status = 401
        async with running(options=telling(site, every=0.5)) as rig:
            await rig.until(lambda: len(site.requests) >= 2)
        assert caplog.text.count("does not take heartbeats") == 1
        assert "401" in caplog.text


async def test_a_worker_that_loads_says_so():
    async with Site().open() as site:
        engine = EchoEngine(tick_ms_at_start=500)
        async with running(engine, options=telling(site), ready=False) as rig:
            await rig.until(lambda: site.requests)
            assert site.beats[0].ready is False


def test_name_and_address_can_be_given():
    from inference.engine.model_thread import ModelThread
    from inference.worker.server import WorkerServer

    options = replace(
        WorkerOptions(secret=SECRET), name="gpu-7", public_url="wss://gpu-7.example/w"
    )

    async def build():
        return WorkerServer(ModelThread(EchoEngine), options)

    server = asyncio.run(build())
    said = server.status.heartbeat()
    assert (said.name, said.url) == ("gpu-7", "wss://gpu-7.example/w")
    assert parse_heartbeat(dump_heartbeat(said)) == said


def test_a_cpu_is_read_without_a_gpu():
    sample = Telemetry("cpu").sample()
    assert sample.memory_used_mb is None and sample.accelerator == ""
    assert sample.ram_total_mb == pytest.approx(
        psutil.virtual_memory().total / 2**20, abs=1
    )
    assert 0 < sample.process_ram_mb < sample.ram_total_mb
    assert json.loads(json.dumps(sample.__dict__)) == sample.__dict__


def test_a_gpu_that_nvml_does_not_know_costs_a_warning_only(caplog, monkeypatch):
    def absent():
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(telemetry.pynvml, "nvmlInit", absent)
    assert Telemetry("cuda:0").sample().memory_used_mb is None
    assert "No telemetry of the accelerator" in caplog.text


def test_a_sensor_that_a_board_lacks_is_left_out(monkeypatch):
    class Board:
        """A board whose power can't be read, seen through the real code."""

        used, total, gpu = 2**30, 2**33, 37

    def missing(handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for name, answer in {
        "nvmlDeviceGetName": lambda handle: "NVIDIA Test",
        "nvmlDeviceGetMemoryInfo": lambda handle: Board,
        "nvmlDeviceGetUtilizationRates": lambda handle: Board,
        "nvmlDeviceGetTemperature": lambda handle, sensor: 0,
        "nvmlDeviceGetPowerUsage": missing,
    }.items():
        monkeypatch.setattr(telemetry.pynvml, name, answer)
    reader = Telemetry("cpu")
    reader._gpu = Board
    sample = reader.sample()
    assert (sample.accelerator, sample.memory_used_mb) == ("NVIDIA Test", 1024)
    assert sample.utilisation_percent == 37 and sample.temperature_c == 0
    assert sample.power_w is None
