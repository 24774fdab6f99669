"""The options that choose the fast engine, where there is no GPU for it."""

import argparse

import pytest
import torch

from inference.__main__ import build_parser
from inference.commands import _engine
from inference.commands._engine import (
    NoFastEngine,
    TooLarge,
    check_memory,
    chosen_engine,
    engine_loader,
    fast_engine,
)
from inference.commands._fitting import check_format, fitting
from inference.commands._refusals import TooSlow
from inference.engine.gpu import measure
from inference.engine.gpu.capacity import Card, Sizes
from inference.errors import PersonaplexError
from inference.network.config import PERSONAPLEX_7B, TINY


def options(*words):
    return build_parser().parse_args(["serve", *words])


def test_the_device_chooses_the_default_engine():
    assert (options().weights, options().kv) == ("", "bf16")


@pytest.mark.parametrize("words", [["--weights", "int3"], ["--kv", "fp8"]])
def test_unknown_formats_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        options(*words)
    assert "must be one of" in capsys.readouterr().err


SMALL = Card("Small GPU", 360e9, 12e9)
TOO_SMALL = Card("Tiny GPU", 360e9, 6e9)


def test_a_gpu_gets_what_fits_it(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(measure, "measured_card", lambda device: SMALL)
    found = fitting(Sizes(PERSONAPLEX_7B), torch.device("cuda"), "bf16", 4)
    assert found == ("int4", "int8", 4)
    assert "Small GPU has 12.0 GB free: int4 weights, int8 KV, 4 slots" in caplog.text


def test_a_gpu_that_is_too_small_is_refused_with_the_figures(monkeypatch):
    monkeypatch.setattr(measure, "measured_card", lambda device: TOO_SMALL)
    with pytest.raises(TooLarge, match=r"takes 7\.\d GB.*has 6\.0 GB free") as refused:
        fitting(Sizes(PERSONAPLEX_7B), torch.device("cuda"), "bf16", 4)
    assert "smaller --model" in refused.value.text


def test_what_is_missing_is_said_to_the_megabyte(monkeypatch):
    short = Card("Small GPU", 360e9, 7.3e9)
    monkeypatch.setattr(measure, "measured_card", lambda device: short)
    with pytest.raises(TooLarge, match=r"7\.3 GB free, \d\d MB are missing"):
        fitting(Sizes(PERSONAPLEX_7B), torch.device("cuda"), "bf16", 4)


def test_a_small_card_does_without_kept_prompts(monkeypatch, caplog):
    """8 GB: 7.4 for a conversation, and no 0.5 for prompts beside it."""
    small = Card("RTX 4060", 272e9, 7.6e9)
    words = ("--prompt-cache-mb", "512")
    assert served(monkeypatch, small, *words) == 1
    assert "No memory for prompts that were read before" in caplog.text


SLOW = Card("Slow GPU", 300e9, 80e9)


def test_forced_it_serves_in_the_smallest_format(monkeypatch, caplog):
    monkeypatch.setattr(measure, "measured_card", lambda device: TOO_SMALL)
    sizes, cuda = Sizes(PERSONAPLEX_7B), torch.device("cuda")
    assert fitting(sizes, cuda, "bf16", 4, force=True) == ("int4", "int8", 1)
    assert "Forced: personaplex-7b takes" in caplog.text


@pytest.mark.parametrize(
    ("card", "weights", "said"),
    [
        (SLOW, "bf16", r"6\d ms a frame with bf16 weights and bf16 KV; Slow GPU"),
        (SMALL, "bf16", r"takes 1\d\.\d GB .*Small GPU has 12\.0 GB free"),
    ],
)
def test_a_format_that_is_no_real_time_here_is_refused(
    monkeypatch, card, weights, said
):
    monkeypatch.setattr(measure, "measured_card", lambda device: card)
    with pytest.raises(TooSlow, match=said) as refused:
        check_format(Sizes(PERSONAPLEX_7B), torch.device("cuda"), weights, "bf16")
    assert "--force" in refused.value.text and "--weights" in refused.value.text


def served(monkeypatch, card, *words):
    """The slots of the GPU engine that ``serve`` would build; None: it refuses."""
    monkeypatch.setattr(measure, "measured_card", lambda device: card)
    monkeypatch.setattr(_engine, "chosen_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(_engine, "sizes", lambda _: Sizes(PERSONAPLEX_7B))
    built = []

    def fast_engine(arguments, weights, slots, **options):
        built.append(slots)
        assert options["prompt_cache_mb"] <= 512
        raise Built

    monkeypatch.setattr(_engine, "fast_engine", fast_engine)
    with pytest.raises((Built, TooSlow)):
        engine_loader(options(*words))()
    return built[0] if built else None


class Built(PersonaplexError):
    pass


H100 = Card("H100", 3.11e12, 85e9, 1.24)


@pytest.mark.parametrize(
    ("card", "words", "slots"),
    [
        (SLOW, ["--weights", "bf16"], None),
        (SLOW, ["--weights", "bf16", "--force"], 4),
        (SLOW, ["--weights", "int4", "--kv", "int8"], 4),
        (H100, ["--weights", "bf16"], 4),
        (H100, ["--weights", "bf16", "--slots", "64"], 64),
        (SMALL, ["--weights", "int4", "--kv", "bf16"], 3),
    ],
)
def test_serve_refuses_a_format_before_it_loads_the_model(
    monkeypatch, caplog, card, words, slots
):
    assert served(monkeypatch, card, *words) == slots
    assert ("only 42" in caplog.text) is (slots == 64)


def test_a_model_beyond_the_memory_is_not_loaded(monkeypatch):
    free = argparse.Namespace(available=16e9)
    monkeypatch.setattr(_engine.psutil, "virtual_memory", lambda: free)
    with pytest.raises(TooLarge, match=r"takes 3\d GB of memory on a CPU, 16 GB are"):
        check_memory(Sizes(PERSONAPLEX_7B), torch.float32)
    check_memory(Sizes(TINY), torch.float32)


def test_it_says_what_the_fast_engine_needs():
    arguments = options("--weights", "int8", "--device", "cpu")
    assert isinstance(arguments, argparse.Namespace)
    with pytest.raises(NoFastEngine) as refused:
        fast_engine(arguments, "int8", 1)
    assert "CUDA GPU" in refused.value.text


def chosen(monkeypatch, device, *words, possible=True):
    """What ``talk`` and ``serve`` would run on such a machine."""

    def fast(weights):
        if not possible:
            raise NoFastEngine("no triton")
        return f"fast {weights}"

    arguments = build_parser().parse_args(
        ["talk", "--input", "a", "--output", "b", *words]
    )
    monkeypatch.setattr(_engine, "chosen_device", lambda _: torch.device(device))
    return chosen_engine(
        arguments, lambda dtype: f"plain {dtype}", fast, lambda why: f"captured: {why}"
    )


@pytest.mark.parametrize(
    ("device", "words", "expected"),
    [
        ("cuda", [], "fast bf16"),
        ("cuda", ["--weights", "int4", "--kv", "int8"], "fast int4"),
        ("cuda", ["--kv", "int8"], "fast bf16"),
        ("cuda", ["--weights", "fp32"], "plain torch.float32"),
        ("cpu", [], "plain None"),
        ("cpu", ["--weights", "bf16"], "plain torch.bfloat16"),
    ],
)
def test_a_gpu_is_served_by_the_fast_engine(monkeypatch, device, words, expected):
    assert chosen(monkeypatch, device, *words) == expected


def test_a_gpu_without_triton_is_served_plainly_unless_a_format_is_asked_for(
    monkeypatch, caplog
):
    assert chosen(monkeypatch, "cuda", possible=False) == "captured: no triton"
    assert "The fast engine can't start: no triton" in caplog.text
    for words in (["--weights", "bf16"], ["--kv", "int8"]):
        with pytest.raises(NoFastEngine):
            chosen(monkeypatch, "cuda", *words, possible=False)


def test_eight_bits_of_memory_are_for_the_fast_engine(monkeypatch):
    with pytest.raises(NoFastEngine, match="by the plain engine"):
        chosen(monkeypatch, "cpu", "--kv", "int8")
