"""The soak's own bookkeeping; on a GPU, that no session hears another."""

import pytest
import torch

from inference.bench import soak
from inference.bench.soak import Soak, run_soak
from inference.engine.gpu.batch import CudaSlotBatch
from inference.kernels import plain
from tests.inference.engine.gpu.test_gpu_batch import codec
from tests.inference.kernels.shapes import packed, small_config


def made(ops, frames=6):
    batch = CudaSlotBatch(
        packed(small_config(context=200), "int8"), codec(), 8, "int8", ops
    )
    with torch.inference_mode():
        batch.capture()
        return Soak(batch, frames)


@torch.inference_mode()
def test_a_session_that_is_heard_by_another_is_found_out():
    made_up = made(plain)
    assert len(set(made_up.watched)) == 4
    made_up.tick()
    assert made_up.compared
    before = made_up.unequal
    slot = next(slot for slot in made_up.watched if made_up._said.get(slot))
    made_up.batch.lm.row[slot, 0] += 1  # as if another had written there
    made_up._chance.seed(3)  # without pauses
    for _ in range(3):
        made_up.tick()
    assert made_up.unequal > before


@torch.inference_mode()
def test_sessions_join_leave_and_pause(monkeypatch):
    monkeypatch.setattr(soak, "LEAVE", 0.1)
    monkeypatch.setattr(soak, "JOINING_MS", 10_000)
    found = run_soak(made(plain, 4).batch, 30, 4, clock=iter(range(100)).__next__)
    assert found["ticks"] == 29
    assert min(found["joins"], found["leaves"], found["pauses"]) > 0
    assert found["compared"] > 50
    assert found["late"] <= found["ticks"]


@pytest.mark.gpu
@torch.inference_mode()
def test_watched_sessions_say_what_they_said_alone(monkeypatch):
    from inference.kernels import fast

    monkeypatch.setattr(soak, "LEAVE", 0.1)
    made_up = made(fast, frames=40)
    for _ in range(120):
        made_up.tick()
    assert made_up.compared > 300
    assert made_up.unequal == 0
    assert min(made_up.joins, made_up.leaves, made_up.pauses) > 10
