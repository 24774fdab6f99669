"""Who is let in: by memory, and by what ticks take of the frame."""

import pytest
import torch

from inference.engine.api import MemoryStats
from inference.engine.gpu.loading import pages_that_fit
from inference.errors import WorkerBusy
from inference.kernels import ring as rings
from tests.inference.echo_engine import EchoEngine, frame_of
from tests.inference.engine.gpu.test_gpu_engine import CONFIG, engine
from tests.inference.engine.sessions import opened as opened_in
from tests.inference.engine.test_model_thread import config, opened, started
from tests.inference.kernels.shapes import packed, small_config

__all__ = ["started"]


def test_no_session_is_admitted_without_memory(started):
    made = EchoEngine(slots=4)
    made.memory = MemoryStats(total=2000, free=500, room=0)
    thread = started(made)
    with pytest.raises(WorkerBusy, match="no memory"):
        thread.open(config(), None)
    assert thread.stats().memory.free == 500


def test_no_session_is_added_to_ticks_that_take_too_long(started):
    made = EchoEngine(slots=4, tick_seconds=0.03)
    thread = started(made, batches=True, max_tick_ms=20)
    session, ear = opened(thread)
    session.push(0, frame_of(0))
    ear.wait(lambda ear: ear.results)
    with pytest.raises(WorkerBusy, match=r"ticks take \d+ ms of 80"):
        thread.open(config("two"), None)
    assert thread.stats().headroom_ms < 50
    session.close()
    opened(thread, "three")  # alone, it is not one more


def test_where_ticks_are_of_one_session_they_say_nothing_of_another(started):
    thread = started(EchoEngine(slots=4, tick_seconds=0.03), max_tick_ms=20)
    session, ear = opened(thread)
    session.push(0, frame_of(0))
    ear.wait(lambda ear: ear.results)
    opened(thread, "two")


def test_a_gpu_engine_tells_its_memory(monkeypatch):
    monkeypatch.setattr(rings, "PAGE", 20)
    made = engine("plain", pages=5, promised=30)
    assert made.memory_stats() == MemoryStats(total=100, free=100, room=2)
    opened_in(made, CONFIG)
    assert made.memory_stats() == MemoryStats(total=100, free=60, room=1)


def test_pages_are_counted_by_what_the_weights_leave(monkeypatch):
    model = packed(small_config(context=300), "int8")
    free = 3e9

    def mem_get_info(device):
        return int(free), int(8e9)

    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    assert pages_that_fit(model, 4, "int8") == 8  # whole windows of two pages
    few = pages_that_fit(model, 4000, "int8")
    assert 2 < few < 8000
    assert pages_that_fit(model, 4000, "int8", taken=10**9) < few
    free = 1.1e9
    with pytest.raises(ValueError, match="no memory for one"):
        pages_that_fit(model, 2, "bf16", taken=2 * 10**8)
