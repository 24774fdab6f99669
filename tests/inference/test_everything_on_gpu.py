"""The run on a GPU machine names what there is."""

from pathlib import Path

from tests.inference.everything_on_gpu import TESTS

HERE = Path(__file__).parent
MARK = "pytest.mark." + "gpu"


def test_every_test_that_needs_a_gpu_is_part_of_the_run():
    assert all((HERE / place).exists() for place in TESTS)
    marked = [p for p in HERE.rglob("test_*.py") if MARK in p.read_text()]
    assert marked
    for path in marked:
        assert any(path.is_relative_to(HERE / place) for place in TESTS), path
