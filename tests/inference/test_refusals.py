"""A GPU on which the fast engine can't start: what is said, and who serves instead."""

import pytest
import torch

from inference import cards
from inference.__main__ import build_parser
from inference.cards import CardSpec
from inference.commands import _engine
from inference.commands._engine import engine_loader
from inference.commands._refusals import (
    EngineRefused,
    NoFastEngine,
    TooLarge,
    check_capability,
    plain_slots,
    starting_fast,
)
from inference.engine.gpu import measure
from inference.engine.gpu.capacity import Card, Sizes
from inference.network.config import PERSONAPLEX_7B, TINY
from inference.worker.heartbeat import MAX_TEXT
from inference.worker.status import device_in_words
from tests.inference.echo_engine import EchoEngine
from tests.inference.toys import toy_model
from tests.inference.worker.conftest import running

REFUSED = "skinny.cu asks for 196608 bytes of shared memory, L4 24 GB has 101376"
CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(REFUSED),
        ImportError("No module named 'triton'"),
        OSError("libnvrtc.so.13 is missing"),
    ],
)
def test_what_keeps_the_fast_engine_from_starting_is_said(error):
    with pytest.raises(EngineRefused) as refused, starting_fast():
        raise error
    assert str(error) in str(refused.value)
    assert "driver" in refused.value.text


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: unspecified launch failure"),
        torch.OutOfMemoryError("CUDA out of memory"),
        TooLarge("too large"),
    ],
)
def test_a_broken_or_full_gpu_is_no_reason_to_try_another_engine(error):
    with pytest.raises(type(error)), starting_fast():
        raise error


def test_a_card_before_2020_is_refused_before_anything_is_loaded(monkeypatch):
    old = CardSpec("RTX 2080", (7, 5), 8e9, 448e9, 65_536, 65_536, 46, 4_194_304)
    monkeypatch.setattr(cards, "this_card", lambda index: old)
    said = r"RTX 2080 has compute capability 7\.5, the kernels need 8\.0"
    with pytest.raises(NoFastEngine, match=said):
        check_capability(CUDA)


def free(monkeypatch, gigabytes):
    memory = int(gigabytes * 1e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (memory, memory))


def test_the_plain_engine_needs_room_for_16_bits(monkeypatch):
    sizes = Sizes(PERSONAPLEX_7B)
    free(monkeypatch, 24)
    assert plain_slots(sizes, CUDA, REFUSED) == 4
    free(monkeypatch, 12)
    said = r"196608 bytes.*takes 18\.\d GB for personaplex-7b, 12\.0 GB are free"
    with pytest.raises(TooLarge, match=said):
        plain_slots(sizes, CUDA, REFUSED)


def sabotaged(monkeypatch, *words):
    """``serve``'s engine on a GPU whose driver refuses a kernel."""
    model = toy_model()

    def fast_engine(*given, **options):
        raise RuntimeError(REFUSED)

    monkeypatch.setattr(_engine, "chosen_device", lambda _: CUDA)
    monkeypatch.setattr(_engine, "sizes", lambda _: Sizes(TINY))
    monkeypatch.setattr(_engine, "load", lambda arguments, dtype: model)
    monkeypatch.setattr(_engine, "fast_engine", fast_engine)
    monkeypatch.setattr(measure, "measured_card", lambda _: Card("L4", 3e11, 24e9))
    free(monkeypatch, 24)
    return engine_loader(build_parser().parse_args(["serve", *words]))


def test_a_refused_kernel_is_served_by_the_plain_engine_as_one_graph(
    monkeypatch, caplog
):
    engine = sabotaged(monkeypatch, "--slots", "2")()
    assert engine.info.engine == "captured" and engine.info.slots == 2
    assert engine.info.why_not_fast == REFUSED
    assert engine.info.tick_ms_at_start > 0
    assert f"The fast engine can't start: {REFUSED}" in caplog.text


def test_a_format_that_was_asked_for_is_not_replaced(monkeypatch):
    with pytest.raises(EngineRefused, match="196608"):
        sabotaged(monkeypatch, "--weights", "int8")()


async def test_a_worker_says_which_engine_serves_and_why(caplog):
    engine = EchoEngine()
    engine.info = engine.info.__class__(
        **{**vars(engine.info), "device": "cuda:0", "engine": "captured"}
        | {"why_not_fast": REFUSED}
    )
    async with running(engine) as rig:
        found = rig.server.status.statistics()
        assert found["engine"] == "captured" and found["why_not_fast"] == REFUSED
        assert found["device"] == "cuda:0"
        device = rig.server.status.heartbeat().device
        assert device.startswith(
            "cuda:0, plain engine, as the fast one can't start: sk"
        )
        assert len(device) <= MAX_TEXT
    assert f"can't start on this GPU: {REFUSED}" in caplog.text


def test_a_device_with_its_own_engine_is_just_named():
    assert device_in_words(EchoEngine().info) == EchoEngine().info.device
