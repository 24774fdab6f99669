"""Files, functions and tests that the documents name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    ROOT / "inference/training/MODEL_CARD.md",
]
FOLDERS = ("conversations", "inference", "personas", "personaplex_site")
FOLDERS += ("docs", "scripts", "static", "templates", "tests")
QUOTED = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"(?<![\w*.<])[\w][\w./-]*\.(?:py|js|md|html|css|cuh?)(?!\w)")
# Of a module and what is in it: `models/queue.py` (`seconds_until_free`).
MEMBERS = re.compile(r"`([\w./-]+\.py)` \(((?:`\w+`(?:, )?)+)\)")
TEST = re.compile(r"(?:…|\btest_)([a-z0-9]+(?:_[a-z0-9]+)+)(?!\w|\.py|\.test)")
OTHERS = {"wavesurfer.js", "uplot.js"}  # packages, not files


def files():
    for folder in FOLDERS:
        yield from (
            p for p in (ROOT / folder).rglob("*") if "__pycache__" not in p.parts
        )
    yield from ROOT.glob("*")


PATHS = [f"/{path.relative_to(ROOT)}" for path in files()]
TESTS = re.findall(
    r"def (test_\w+)",
    "\n".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py")),
)


def ids(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_the_files_that_it_names_exist(document):
    named = {
        name
        for quoted in QUOTED.findall(document.read_text())
        for name in FILE.findall(quoted)
    }
    missing = [
        name
        for name in sorted(named - OTHERS)
        if not any(path.endswith("/" + name.lstrip("./")) for path in PATHS)
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_what_it_says_is_in_a_module_is_there(document):
    missing = []
    for module, members in MEMBERS.findall(document.read_text()):
        texts = [
            (ROOT / path[1:]).read_text()
            for path in PATHS
            if path.endswith("/" + module)
        ]
        for member in re.findall(r"\w+", members):
            if not any(re.search(rf"\b{member}\b", text) for text in texts):
                missing.append(f"{member} in {module}")
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_the_tests_that_it_names_exist(document):
    text = document.read_text()
    missing = [
        part for part in TEST.findall(text) if not any(part in name for name in TESTS)
    ]
    assert missing == []
