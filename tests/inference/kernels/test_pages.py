"""Promised memory is kept, whichever sequence grows first."""

from inference.kernels.pages import Pages


def test_none_begins_whose_promise_could_not_be_kept():
    pages = Pages(10, 4)
    assert pages.promise(0, 6)
    assert not pages.promise(1, 5)
    assert pages.promise(1, 4)
    assert pages.spare == 0
    assert pages.free == 10


def test_what_was_promised_is_there_after_others_have_grown():
    pages = Pages(6, 3)
    assert pages.promise(0, 1)
    assert pages.promise(1, 3)
    taken = [pages.take(0) for _ in range(4)]
    assert taken == [0, 1, 2, None]
    assert [pages.take(1) for _ in range(4)] == [3, 4, 5, None]
    assert pages.free == 0


def test_pages_come_back_and_belong_to_one_at_a_time():
    pages = Pages(3, 2)
    pages.promise(0, 3)
    held = {pages.take(0) for _ in range(3)}
    pages.release(0)
    assert pages.spare == 3
    assert pages.promise(1, 2)
    assert {pages.take(1) for _ in range(3)} == held
    assert pages.held(0) == []
