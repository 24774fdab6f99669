"""One worker for each GPU of a host, by a parent that watches them."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pynvml
import pytest

from inference import supervision
from inference.__main__ import build_parser, main
from inference.commands import _gpus
from inference.commands._gpus import NoGpus, WrongGpus, worker_commands
from inference.worker import fleet, gpus
from inference.worker.fleet import Fleet, WorkerCommand
from inference.worker.gpus import Gpu, usable_gpus
from tests.inference.models import write_files
from tests.inference.worker.conftest import SECRET
from tests.inference.worker.test_heartbeat import Site

SECONDS = 60  # on a machine that does much else


def options(*words):
    return build_parser().parse_args(["serve", *words])


@pytest.fixture
def two(monkeypatch):
    found = [Gpu(0, "GPU-aa", "One"), Gpu(1, "GPU-bb", "Two")]
    monkeypatch.setattr(_gpus, "usable_gpus", lambda ask_torch: found)


# What is started.


def test_each_gpu_gets_a_port_a_name_and_nothing_but_itself(two):
    given = ["--gpus", "all", "--port", "9000", "--name", "host", "--slots", "3"]
    given += ["--public-url", "ws://[fe80::9000]:9000/a", "--force", "--pin-prompt"]
    one, other = worker_commands(options(*given, "True"))
    assert (one.name, other.name) == ("gpu0", "gpu1")
    assert one.environment["CUDA_VISIBLE_DEVICES"] == "GPU-aa"
    assert other.environment["CUDA_VISIBLE_DEVICES"] == "GPU-bb"
    assert other.argv[:3] == [sys.executable, "-m", "inference"]
    read = build_parser().parse_args(other.argv[3:])
    changed = {
        "gpus": "",
        "device": "cuda",
        "port": 9001,
        "name": "host-gpu1",
        "public_url": "ws://[fe80::9000]:9001/a",
        "log_name": "gpu1",
    }
    assert vars(read) == {**vars(options(*given, "True")), **changed}
    assert build_parser().parse_args(one.argv[3:]).port == 9000


def test_a_worker_does_not_start_a_fleet_of_its_own(two, monkeypatch):
    monkeypatch.setenv("WORKER_GPUS", "all")
    (child,) = worker_commands(options("--gpus", "1", "--port", "0"))
    read = build_parser().parse_args(child.argv[3:])
    assert read.gpus == "" and worker_commands(read) == []
    assert (read.port, read.public_url) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus", "all", "--device", "cpu"], "contradict"),
        (["--gpus", "0", "--device", "cuda:1"], "contradict"),
        (["--gpus", "0,2"], "no GPU 2. Here are 2"),
        (["--gpus", "all", "--port", "65535"], "65535 + 1"),
        (["--gpus", "all", "--public-url", "wss://gpu.example.org"], "needs a port"),
        (["--gpus", "0", "--port", "0", "--public-url", "ws://a:1"], "needs a port"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    two, words, said, capsys, monkeypatch
):
    with pytest.raises(WrongGpus, match=re.escape(said)):
        worker_commands(options(*words))
    monkeypatch.setenv("WORKER_SECRET", SECRET)
    assert main(["serve", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("value", ["some", "-1", "0,0", "0,00", "0,", "99", "0 1"])
def test_what_names_no_gpus_is_refused(value, capsys):
    with pytest.raises(SystemExit):
        options(f"--gpus={value}")
    assert "argument --gpus" in capsys.readouterr().err


def test_auto_is_for_several_gpus_only(two, monkeypatch):
    assert len(worker_commands(options("--gpus", "auto"))) == 2
    assert worker_commands(options("--gpus", "auto", "--device", "cpu")) == []
    monkeypatch.setattr(_gpus, "usable_gpus", lambda ask_torch: [Gpu(0, "0")])
    assert worker_commands(options("--gpus", "auto")) == []
    assert len(worker_commands(options("--gpus", "all"))) == 1


# Which GPUs there are.


def test_a_machine_without_a_gpu_is_refused_with_advice(monkeypatch, caplog):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("WORKER_SECRET", SECRET)
    with pytest.raises(NoGpus):
        worker_commands(options("--gpus", "all"))
    assert main(["serve", "--gpus", "all"]) == 1
    assert "look at nvidia-smi" in caplog.text


def test_gpus_that_the_environment_allows_are_all_there_are(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, MIG-5,-1,0")
    assert [gpu.visible for gpu in usable_gpus(ask_torch=True)] == ["3", "MIG-5"]


def test_nvml_tells_them_by_uuid(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, answer in {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetName": lambda handle: "H100",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
    }.items():
        monkeypatch.setattr(pynvml, name, answer)
    assert usable_gpus(ask_torch=False)[1] == Gpu(1, "GPU-1", "H100")


def test_without_nvml_a_child_counts_them_if_it_must(monkeypatch):
    def missing():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    monkeypatch.setattr(gpus, "COUNT", "print(2)")
    assert usable_gpus(ask_torch=False) == []
    assert usable_gpus(ask_torch=True) == [Gpu(0, "0"), Gpu(1, "1")]
    monkeypatch.setattr(gpus, "COUNT", "import no_torch_here")
    assert usable_gpus(ask_torch=True) == []


# How they are watched.


def shell(name, script):
    return WorkerCommand(name, ["sh", "-c", script], dict(os.environ))


def watched(monkeypatch, *scripts, seconds=30.0):
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.01)
    made = [shell(f"gpu{i}", script) for i, script in enumerate(scripts)]
    return Fleet(made, seconds, seconds)


async def test_workers_that_all_fail_at_once_end_it_with_their_code(monkeypatch):
    async with asyncio.timeout(SECONDS):
        assert await watched(monkeypatch, "exit 1", "exit 70").run() in (1, 70)
        assert await watched(monkeypatch, "kill -9 $$").run() == 137


async def test_wrong_options_are_not_tried_again(monkeypatch, tmp_path):
    async with asyncio.timeout(SECONDS):
        script = f"echo >> {tmp_path}/tries; exit 2"
        assert await watched(monkeypatch, script, script).run() == 2
    assert (tmp_path / "tries").read_text() == "\n\n"


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_wait_before_another_start_grows_and_is_bounded(
    monkeypatch, caplog, tmp_path
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(supervision, "MAX_DELAY", 0.04)
    pauses, real = [], Fleet._pause

    async def pause(self, command, delay):
        pauses.append(delay)
        await real(self, command, delay)

    monkeypatch.setattr(Fleet, "_pause", pause)
    both = watched(monkeypatch, "exec sleep 999", f"echo >> {tmp_path}/tries; exit 3")
    running = asyncio.create_task(both.run())
    await until(lambda: len(pauses) >= 4)
    assert pauses[:4] == [0.01, 0.02, 0.04, 0.04]
    os.kill(os.getpid(), signal.SIGTERM)  # pytest's process is the parent here
    assert await asyncio.wait_for(running, SECONDS) == 0
    assert len((tmp_path / "tries").read_text()) >= 4
    assert "gpu0 was killed by signal 15" in caplog.text


async def test_who_does_not_end_is_killed_and_that_is_no_success(monkeypatch, tmp_path):
    deaf = f"trap '' TERM; echo > {tmp_path}/deaf; while :; do sleep 0.05; done"
    both = watched(monkeypatch, deaf, "exec sleep 999", seconds=0.3)
    running = asyncio.create_task(both.run())
    await until((tmp_path / "deaf").exists)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, SECONDS) == 137


async def test_a_signal_that_comes_twice_at_once_is_one(monkeypatch, tmp_path):
    count = f"trap 'echo >> {tmp_path}/heard' TERM; echo > {tmp_path}/up; "
    both = watched(monkeypatch, count + "while :; do sleep 0.02; done")
    running = asyncio.create_task(both.run())
    await until((tmp_path / "up").exists)
    both._pass_on(signal.SIGTERM)
    both._pass_on(signal.SIGTERM)
    await until((tmp_path / "heard").exists)
    await asyncio.sleep(fleet.SAME_SIGNAL_SECONDS)
    assert (tmp_path / "heard").read_text() == "\n"
    both._pass_on(signal.SIGTERM)
    await until(lambda: (tmp_path / "heard").read_text() == "\n\n")
    both._kill()
    assert await asyncio.wait_for(running, SECONDS) == 137


# The real thing: processes of serve, on the CPU.

PARENT = """
import os, sys
from inference.__main__ import main
from inference.commands import _gpus
from inference.worker.gpus import Gpu

made = _gpus.worker_commands
_gpus.usable_gpus = lambda ask_torch: [Gpu(0, "GPU-0"), Gpu(1, "GPU-1")]

def commands(arguments):  # for this machine's CPU instead
    for command in made(arguments):
        command.argv.extend(["--device", "cpu"])
        yield command

_gpus.worker_commands = lambda arguments: list(commands(arguments))
code = main(["serve", "--gpus", "all", "--port", "0", "--name", "host", *sys.argv[1:]])
print("torch" in sys.modules)
sys.exit(code)
"""


@contextlib.contextmanager
def parent(folder, site):
    words = ["--model", str(write_files(folder / "model")), "--site", site.url]
    words += ["--slots", "1", "--force", "--heartbeat-seconds", "0.5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WORKER_SECRET": SECRET}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def last(site, name):
    return next((beat for beat in reversed(site.beats) if beat.name == name), None)


def both(site):
    return [last(site, f"host-gpu{number}") for number in (0, 1)]


async def test_two_workers_beat_come_back_and_drain(tmp_path):
    async with Site().open() as site:
        with parent(tmp_path, site) as process:
            await until(lambda: all(both(site)))
            before = both(site)
            assert before[0].url != before[1].url

            log = (tmp_path / "log").read_text()
            killed = int(re.search(r"gpu1 is process (\d+)", log)[1])
            visible = psutil.Process(killed).environ()["CUDA_VISIBLE_DEVICES"]
            assert visible == "GPU-1"
            os.kill(killed, signal.SIGKILL)
            await until(lambda: both(site)[1].started_at > before[1].started_at)
            assert both(site)[0].started_at == before[0].started_at
            await until(lambda: both(site)[0].ready)
            assert process.poll() is None

            children = psutil.Process(process.pid).children()
            process.send_signal(signal.SIGTERM)
            said, _ = await asyncio.to_thread(process.communicate, timeout=SECONDS)
            assert process.returncode == 0, (tmp_path / "log").read_text()
            assert said.strip() == "False"  # the parent had no torch
            assert len(children) == 2 and not any(c.is_running() for c in children)
    log = (tmp_path / "log").read_text()
    assert "gpu1 was killed by signal 9" in log
    assert "Draining 0 sessions" in log and "[gpu0] inference.worker" in log


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    code = (
        "import asyncio, os\nfrom inference.worker.fleet import Fleet, WorkerCommand\n"
        "made = [WorkerCommand(n, ['sleep', '999'], dict(os.environ)) for n in 'ab']\n"
        "asyncio.run(Fleet(made, 9, 9).run())"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    family = psutil.Process(process.pid)
    end = time.monotonic() + SECONDS
    while [child.name() for child in family.children()] != ["sleep", "sleep"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    children = family.children()
    process.kill()
    process.wait(10)
    assert psutil.wait_procs(children, timeout=SECONDS)[1] == []
