"""What one socket may send, by the clock."""

from personaplex_site.socket_limits import Budget


def spend(budget, count, size, now):
    return [budget.spend(size, now) for _ in range(count)]


def test_a_page_with_pcm_never_meets_it():
    """12.5 frames of 3,848 bytes, two figures a second and an event now and then."""
    budget = Budget(0.0)
    for n in range(30 * 60 * 12):
        now = n * 0.08
        assert budget.spend(3_848, now)
        if n % 6 == 0:
            assert budget.spend(300, now)
        if n % 100 == 0:
            assert budget.spend(60, now)


def test_nor_one_that_catches_up_on_ten_seconds():
    budget = Budget(0.0)
    for _ in range(5):
        assert budget.spend(3_848, 100.0)
    assert all(spend(budget, 125, 3_848, 110.0) + spend(budget, 20, 300, 110.0))


def test_a_flood_of_small_ones_meets_it(settings):
    settings.SOCKET_BURST_MESSAGES = 160
    budget = Budget(0.0)
    assert spend(budget, 200, 2, 0.0) == [True] * 160 + [False] * 40


def test_so_do_a_few_large_ones(settings):
    settings.SOCKET_BURST_BYTES = 80_000
    budget = Budget(0.0)
    assert spend(budget, 12, 8_000, 0.0) == [True] * 10 + [False] * 2


def test_what_was_not_used_is_not_saved_for_ever(settings):
    settings.SOCKET_BURST_MESSAGES = 160
    budget = Budget(0.0)
    assert sum(spend(budget, 1_000, 2, 3_600.0)) == 160
