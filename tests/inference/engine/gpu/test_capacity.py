"""The fit report against the numbers that are known."""

import json

import pytest

from inference.__main__ import main
from inference.engine.gpu.capacity import CARDS, Card, Sizes, choose, fit, tick_ms
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
    ("weights", "kv", "sessions", "measured"),
    [
        ("bf16", "bf16", 1, 7.46),
        ("bf16", "bf16", 32, 26.0),
        ("int4", "int8", 1, 4.47),
        ("int8", "int8", 1, 5.14),
        ("int8", "int8", 32, 16.9),
        ("int8", "int8", 64, 29.3),
        ("int8", "int8", 80, 38.7),
    ],
)
def test_it_predicts_the_measured_ticks(weights, kv, sessions, measured):
    predicted = tick_ms(SIZES, H100, weights, kv, sessions, 3000)
    assert measured * 0.95 < predicted < measured * 1.2


def test_short_conversations_are_many_in_the_same_memory():
    found = fit(SIZES, H100, "int8", "int8")
    assert found.minute > 2.5 * found.full_window


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


@pytest.mark.parametrize(
    ("name", "kv", "slots", "expected"),
    [
        ("H100", "bf16", 4, ("bf16", "bf16")),
        ("H100", "bf16", 64, ("int8", "int8")),
        ("H100", "int8", 4, ("bf16", "int8")),
        ("RTX 4090", "bf16", 4, ("bf16", "bf16")),
        ("RTX 4090", "bf16", 5, ("int8", "bf16")),
        ("DGX Spark", "bf16", 1, ("int8", "bf16")),  # room for bf16, too slow for it
        ("RTX 3060", "bf16", 4, ("int4", "int8")),
        ("RTX 4060", "bf16", 4, ("int4", "int8")),
    ],
)
def test_it_chooses_the_most_exact_format_that_serves_enough(name, kv, slots, expected):
    found = choose(SIZES, card(name), kv, slots)
    assert (found.weights, found.kv) == expected
    assert found.real_time and found.full_window >= 1


@pytest.mark.parametrize(
    "small",
    [Card("6 GB", 360e9, 6e9), Card("slow", 60e9, 24e9)],
)
def test_a_card_without_room_for_a_session_is_refused(small):
    assert choose(SIZES, small, "bf16", 4) is None


def test_check_prints_named_cards_and_ends_with_json(capsys):
    assert main(["check", "--cards"]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    names = [each["name"] for each in report["cards"]]
    assert {"DGX Spark 128 GB", "H200 141 GB"} < set(names)
    assert all(len(each["fits"]) == 4 for each in report["cards"])
