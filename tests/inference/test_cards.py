"""Cards as data, and the pretence of one."""

from types import SimpleNamespace

import pytest

from inference import cards
from inference.__main__ import build_parser
from inference.cards import CARDS, UnknownCard, named


@pytest.fixture
def free_to_pretend(monkeypatch):
    monkeypatch.setenv(cards.PRETEND, "")
    yield
    cards.this_card.cache_clear()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RTX 4090", "RTX 4090 24 GB"),
        ("rtx 4060 8 gb", "RTX 4060 8 GB"),
        ("A100", "A100 80 GB"),
        ("L4", "L4 24 GB"),
        ("GB10", "DGX Spark 128 GB"),
        ("RTX PRO 6000", "RTX PRO 6000 96 GB"),
    ],
)
def test_a_card_is_found_by_the_beginning_of_its_name(name, expected):
    assert named(name).name == expected


@pytest.mark.parametrize("name", ["RTX 409", "Voodoo 2", " "])
def test_an_unknown_card_is_refused_with_the_known_ones(name):
    with pytest.raises(UnknownCard, match=r"RTX 4090 24 GB, .*GB10"):
        named(name)


def test_every_card_has_the_shared_memory_of_its_generation():
    for card in CARDS:
        assert (card.shared_block, card.shared_sm) == cards.SHARED[card.capability]
        assert card.memory and card.bandwidth and card.sms and card.l2


def test_decisions_are_taken_for_the_pretended_card(free_to_pretend):
    cards.pretend("RTX 4090")
    assert cards.this_card(0) == cards.pretended() == named("RTX 4090")
    assert not cards.this_card(0).early_launch


def test_a_pretended_card_has_the_memory_it_would_have(free_to_pretend, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (90e9, 140e9))
    assert cards.memory(0) == (90e9, 140e9)
    cards.pretend("A100")
    assert cards.memory(0) == (30e9, 80e9)
    cards.pretend("RTX 3060")
    assert cards.memory(0) == (0, 12e9)


def test_memory_that_is_the_hosts_is_what_the_host_could_give(
    free_to_pretend, monkeypatch
):
    import psutil
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (9e9, 128e9))
    host = SimpleNamespace(available=70e9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: host)
    monkeypatch.setattr(cards, "_unified", lambda index: True)
    assert cards.memory(0) == (70e9, 128e9)
    monkeypatch.setattr(cards, "_unified", lambda index: False)
    assert cards.memory(0) == (9e9, 128e9)


def test_the_option_is_hidden_and_refuses_unknown_names(free_to_pretend, capsys):
    parser = build_parser()
    for command in ("serve", "bench", "check"):
        assert parser.parse_args([command]).pretend == ""
    with pytest.raises(SystemExit):
        parser.parse_args(["check", "--pretend", "Voodoo 2"])
    assert "no card is called 'Voodoo 2'; known are RTX" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser.parse_args(["serve", "--help"])
    assert "pretend" not in capsys.readouterr().out
    assert parser.parse_args(["bench", "--pretend", "L4"]).pretend == "L4"
    assert cards.pretended() == named("L4")
