"""A table at the end of the run: what was compared with what, and how it came out."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

HEAD = ("step", "what is compared", "with", "values", "differ", "largest error")


@dataclass(frozen=True)
class Comparison:
    step: str  # of the plan, section 17
    what: str
    reference: str  # "published": the package; "literal": tests' own slow model
    values: int
    differ: int
    error: float | None = None

    def cells(self):
        error = "" if self.error is None else f"{self.error:.1e}"
        values = f"{self.values:,}"
        return self.step, self.what, self.reference, values, f"{self.differ:,}", error


FOUND: list[Comparison] = []


@pytest.fixture
def report():
    def add(step, what, reference, values, differ=0, error=None):
        FOUND.append(Comparison(step, what, reference, values, int(differ), error))

    return add


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def table():
    rows = [HEAD, ("---",) * len(HEAD)]
    rows += [each.cells() for each in sorted(FOUND, key=lambda each: each.step)]
    return [f"| {' | '.join(row)} |" for row in rows]


def pytest_terminal_summary(terminalreporter):
    if not FOUND:
        return
    terminalreporter.section("parity")
    for line in table():
        terminalreporter.write_line(line)
    if path := os.environ.get("PARITY_TABLE"):
        Path(path).write_text("\n".join(table()) + "\n")
