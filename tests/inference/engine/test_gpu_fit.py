"""The fit report against the numbers that are known."""

import json

import pytest

from inference.__main__ import main
from inference.engine.gpu_fit import CARDS, Card, Sizes, fit
from inference.network.config import PERSONAPLEX_7B

SIZES = Sizes(PERSONAPLEX_7B)
H100 = Card("measured", 3.11e12, 85e9, 1.24)


def card(name):
    return next(card for card in CARDS if card.name.startswith(name))


def test_it_counts_the_bytes_that_a_frame_reads():
    assert SIZES.weights("bf16") == pytest.approx(14.75e9, rel=0.002)
    assert SIZES.kv("bf16") == 524_288
    assert SIZES.kv("int8") == 262_144 + 4096
    assert SIZES.codec == pytest.approx(0.334e9, rel=0.1)
    assert fit(SIZES, H100, "int4", "int8").bytes_gb == pytest.approx(5.12, rel=0.02)


@pytest.mark.parametrize(
    ("weights", "kv", "measured"),
    [("bf16", "bf16", 9.0), ("int8", "int8", 7.0), ("int4", "int8", 6.2)],
)
def test_it_predicts_the_measured_tick_within_a_third(weights, kv, measured):
    predicted = fit(SIZES, H100, weights, kv).frame_ms
    assert measured * 0.9 < predicted < measured * 1.34


def test_a_small_card_holds_one_in_four_bits_only():
    small = card("RTX 4060")
    assert fit(SIZES, small, "int4", "int8").real_time
    for weights, kv in (("bf16", "bf16"), ("int8", "int8")):
        refused = fit(SIZES, small, weights, kv)
        assert not refused.real_time
        assert refused.full_window == 0


def test_eight_bits_double_what_an_h100_holds():
    wide, narrow = (fit(SIZES, card("H100"), f, f) for f in ("bf16", "int8"))
    assert 35 <= wide.full_window <= 41
    assert 80 <= narrow.full_window <= 90


def test_check_prints_named_cards_and_ends_with_json(capsys):
    assert main(["check", "--cards"]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    names = [each["name"] for each in report["cards"]]
    assert {"DGX Spark 128 GB", "H200 141 GB"} < set(names)
    assert all(len(each["fits"]) == 4 for each in report["cards"])
