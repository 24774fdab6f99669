"""A worker's beat, as the site takes it."""

import dataclasses
import json
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from inference.models import HardwareSample, Worker
from inference.worker.heartbeat import (
    MAX_HEARTBEAT,
    Hardware,
    Heartbeat,
    dump_heartbeat,
)
from tests.factories import WorkerFactory

URL = "/api/workers/heartbeat"

BEAT = Heartbeat(
    name="gpu-1",
    url="ws://10.0.0.1:8765",
    version="0.1.0",
    ready=True,
    started_at=time.time() - 60,
    slots=4,
    sessions=1,
    model="tiny",
    fingerprint="f" * 64,
    trained=False,
    device="cuda:0",
    context_frames=3000,
    frames=1000,
    late_frames=3,
    dropped_frames=1,
    tick_p50_ms=20.5,
    tick_p99_ms=31.25,
    hardware=Hardware(
        cpu_percent=12.5,
        ram_used_mb=2000,
        ram_total_mb=8000,
        process_ram_mb=500,
        accelerator="NVIDIA H100",
        memory_used_mb=20000,
        memory_total_mb=80000,
        utilisation_percent=55,
        temperature_c=60,
        power_w=300.5,
    ),
)


@pytest.fixture
def beat(client, settings, db):
    """Send a beat, or rubbish, with the right secret or another."""

    def send(body, secret=settings.WORKER_SECRET):
        if isinstance(body, Heartbeat):
            body = dump_heartbeat(body)
        return client.post(
            URL,
            body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}"},
        )

    return send


def changed(**fields):
    return json.dumps({**dataclasses.asdict(BEAT), **fields})


def test_a_first_beat_makes_a_worker_and_a_sample(beat):
    assert beat(BEAT).status_code == 204
    worker = Worker.objects.get()
    assert (worker.name, worker.url, worker.ready) == (BEAT.name, BEAT.url, True)
    assert (worker.slots, worker.sessions, worker.tick_p99_ms) == (4, 1, 31.25)
    assert worker.trained is False and worker.alive
    assert worker.started_at.timestamp() == pytest.approx(BEAT.started_at)
    sample = worker.samples.get()
    assert sample.accelerator == "NVIDIA H100" and sample.power_w == 300.5
    assert sample.tick_p99_ms == 31.25 and sample.late_frames == 3
    assert list(Worker.objects.open()) == [worker]


def test_a_later_beat_changes_the_same_worker(beat):
    beat(BEAT)
    Worker.objects.update(last_seen_at=timezone.now() - timedelta(minutes=5))
    assert not Worker.objects.get().alive
    changed = dataclasses.replace(BEAT, sessions=4, parked=3, draining=True)
    beat(dataclasses.replace(changed, url="ws://10.0.0.2:8765"))
    worker = Worker.objects.get()
    assert (worker.sessions, worker.url) == (4, "ws://10.0.0.2:8765")
    assert (worker.parked, worker.draining) == (3, True)
    assert worker.alive


def test_a_worker_that_is_too_slow_says_the_figure(beat):
    beat(dataclasses.replace(BEAT, ready=False, why_not="one step takes 912 ms"))
    assert Worker.objects.too_slow() == "one step takes 912 ms"
    beat(BEAT)
    assert Worker.objects.too_slow() == ""


def test_a_worker_that_says_goodbye_counts_as_gone_at_once(beat):
    beat(BEAT)
    assert Worker.objects.expected() and not Worker.objects.loading()
    beat(dataclasses.replace(BEAT, ready=False, stopping=True))
    assert not Worker.objects.get().alive
    assert not Worker.objects.expected()
    beat(dataclasses.replace(BEAT, ready=False))  # it is back, and loads its model
    assert Worker.objects.get().alive
    assert Worker.objects.expected() and Worker.objects.loading()


def test_a_worker_that_leaves_or_is_too_slow_is_not_waited_for(beat):
    for problem in ({"draining": True}, {"why_not": "one step takes 912 ms"}):
        beat(dataclasses.replace(BEAT, ready=False, **problem))
        assert not Worker.objects.expected()


def test_samples_are_kept_only_every_few_seconds(beat, settings):
    for _ in range(3):
        beat(BEAT)
    assert HardwareSample.objects.count() == 1
    old = timezone.now() - timedelta(seconds=settings.HARDWARE_SAMPLE_SECONDS + 1)
    HardwareSample.objects.update(at=old)
    beat(BEAT)
    assert HardwareSample.objects.count() == 2


def test_a_machine_without_gpu_is_as_welcome(beat):
    hardware = Hardware(1.0, 2.0, 3.0, 4.0)
    assert beat(dataclasses.replace(BEAT, hardware=hardware)).status_code == 204
    sample = HardwareSample.objects.get()
    assert sample.memory_used_mb is None and sample.accelerator == ""


def test_a_worker_that_still_loads_is_known_but_not_open(beat):
    loading = dataclasses.replace(
        BEAT, ready=False, model="", fingerprint="", device="", slots=0, hardware=None
    )
    assert beat(loading).status_code == 204
    assert not Worker.objects.open().exists() and Worker.objects.alive().exists()


def test_it_refuses_a_wrong_secret(beat):
    for secret in ("wrong", "", "wröng"):
        assert beat(BEAT, secret).status_code == 401
    assert not Worker.objects.exists()


def test_it_refuses_a_beat_without_secret(client, db):
    answer = client.post(URL, dump_heartbeat(BEAT), content_type="application/json")
    assert answer.status_code == 401


def test_it_only_takes_posts(client):
    assert client.get(URL).status_code == 405


def test_it_refuses_a_large_body(beat):
    assert beat(b" " * (MAX_HEARTBEAT + 1)).status_code == 413


def test_it_needs_no_csrf_token(settings, db):
    from django.test import Client

    answer = Client(enforce_csrf_checks=True).post(
        URL,
        dump_heartbeat(BEAT),
        content_type="application/json",
        headers={"Authorization": f"Bearer {settings.WORKER_SECRET}"},
    )
    assert answer.status_code == 204


WRONG = {
    "not JSON": (b"{", "not JSON"),
    "not UTF-8": (b"\xff", "not JSON"),
    "deep": (b"[" * 8000, "not JSON"),
    "a list": (b"[]", "not a JSON object"),
    "empty": (b"{}", "name is missing"),
    "unknown field": (changed(more=1), "unknown field"),
    "slots as text": (changed(slots="4"), "slots"),
    "slots as bool": (changed(slots=True), "slots"),
    "slots below zero": (changed(slots=-1), "slots"),
    "slots without end": (changed(slots=10**6), "slots"),
    "frames too many": (changed(frames=2**64), "frames"),
    "ready as text": (changed(ready="yes"), "ready"),
    "no name": (changed(name=""), "name"),
    "a long name": (changed(name="x" * 121), "name"),
    "a NUL": (changed(name="a\0b"), "name"),
    "a foreign url": (changed(url="file:///etc/passwd"), "url"),
    "a url with user": (changed(url="ws://a@b:1"), "url"),
    "tick not a number": (changed(tick_p99_ms=float("nan")), "tick_p99_ms"),
    "tick endless": (changed(tick_p99_ms=float("inf")), "tick_p99_ms"),
    "started in ms": (changed(started_at=1.7e12), "started_at"),
    "ready without model": (changed(model=""), "ready without"),
    "another version": (changed(beat=2), "version 2"),
    "hardware a list": (changed(hardware=[]), "hardware"),
    "hardware empty": (changed(hardware={}), "cpu_percent is missing"),
    "hardware null cpu": (
        changed(hardware=dataclasses.asdict(BEAT.hardware) | {"cpu_percent": None}),
        "cpu_percent",
    ),
}


@pytest.mark.parametrize(("body", "reason"), WRONG.values(), ids=WRONG)
def test_it_refuses_what_is_wrong_and_says_why(beat, body, reason):
    answer = beat(body)
    assert answer.status_code == 400 and reason in answer.json()["error"]
    assert not Worker.objects.exists()


def test_old_samples_expire(db, settings):
    worker = WorkerFactory()
    old = timezone.now() - timedelta(days=settings.HARDWARE_SAMPLE_DAYS, hours=1)
    worker.keep_sample(Hardware(1, 2, 3, 4), old)
    worker.keep_sample(Hardware(1, 2, 3, 4), timezone.now())
    assert HardwareSample.objects.expire() == 1
    assert worker.samples.count() == 1


TICKS = {"sessions": 0, "tick_p50_ms": 1.0, "tick_p99_ms": 2.0, "late_frames": 0}


@pytest.fixture
def admin_page(admin_client):
    return lambda path: admin_client.get(f"/admin/inference/{path}")


def test_an_operator_sees_the_fleet(admin_page, beat):
    beat(dataclasses.replace(BEAT, parked=1))
    page = admin_page("worker/").content.decode()
    assert "1 of 4, 1 parked" in page
    assert "gpu-1" in page and "1 of 4" in page and "20.5 / 31.2 ms" in page
    assert "3 (0.30%)" in page
    for alive in ("yes", "no"):
        assert ("gpu-1" in admin_page(f"worker/?alive={alive}").content.decode()) == (
            alive == "yes"
        )


def test_an_operator_sees_no_cross_at_a_worker_that_is_well(admin_page, beat):
    """unfold shows False as a red cross, and a worker should not be draining."""
    beat(BEAT)
    page = admin_page("worker/").content.decode()
    assert page.count("check_small") == 2 and "close_small" not in page
    beat(dataclasses.replace(BEAT, draining=True))
    assert "ends soon" in admin_page("worker/").content.decode()


def test_an_operator_sees_the_last_hour_of_a_worker(admin_page, beat):
    beat(BEAT)
    worker = Worker.objects.get()
    assert (
        "Tick, p99: 31.25 ms"
        in admin_page(f"worker/{worker.pk}/change/").content.decode()
    )
    for minutes in (1, 2, 30):
        at = timezone.now() - timedelta(minutes=minutes)
        worker.samples.create(at=at, **dataclasses.asdict(BEAT.hardware), **TICKS)
    page = admin_page(f"worker/{worker.pk}/change/").content.decode()
    assert page.count('role="img"') == page.count('data-type="line"') == 6
    assert "GPU memory: 20000 MB" in page


def test_an_operator_without_samples_sees_why(admin_page):
    worker = WorkerFactory()
    page = admin_page(f"worker/{worker.pk}/change/").content.decode()
    assert "No sample in the last hour." in page


def test_an_operator_sees_the_samples(admin_page, beat):
    beat(BEAT)
    page = admin_page("hardwaresample/").content.decode()
    assert "NVIDIA H100" in page and "20000 of 80000 MB" in page
    assert admin_page("hardwaresample/add/").status_code == 403
