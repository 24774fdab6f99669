"""docs/live-path.md names tests; they are there."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
TEXT = (TESTS.parent / "docs" / "live-path.md").read_text()
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| \d+ \|", line)]


def test_every_failure_mode_has_a_test_that_exists():
    assert len(ROWS) == 10
    for row in ROWS:
        named, file = 0, ""
        for path, name, quoted in re.findall(
            r"`([\w/.]+\.(?:py|js))?(?: ?…(\w+))?`|“([^”]+)”", row.split("|")[4]
        ):
            file = path or file
            wanted = f"def test_{name}(" if name else f'test("{quoted}'
            if name or quoted:
                assert wanted in (TESTS / file).read_text(), f"{file}: {wanted}"
                named += 1
        assert named, f"no test: {row}"
