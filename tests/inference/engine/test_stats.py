"""Figures of the model thread."""

import numpy as np
import pytest

from inference.engine.stats import TickStats, percentile


@pytest.mark.parametrize("count", [1, 2, 3, 100, 257])
@pytest.mark.parametrize("share", [0, 0.5, 0.95, 0.99, 1])
def test_percentiles_are_those_of_conversations(count, share):
    values = np.random.default_rng(count).exponential(20, count)
    expected = np.percentile(values, 100 * share)
    assert percentile(sorted(values.tolist()), share) == pytest.approx(expected)


def test_nothing_was_measured_before_the_first_tick():
    stats = TickStats()
    assert stats.newest_p99() == 0
    assert stats.snapshot(0).tick_p99_ms == 0


def test_what_is_reported_are_percentiles_of_the_ticks():
    stats = TickStats()
    for ms in range(1, 101):
        stats.count_tick(ms)
    snapshot = stats.snapshot(sessions=2)
    assert snapshot.tick_p50_ms == 50.5
    assert snapshot.tick_p99_ms == pytest.approx(99.01)
