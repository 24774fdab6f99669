"""The JavaScript modules that know no page: each *.test.js runs in Chromium."""

from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.test.js"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.split(".")[0])
def test_every_test_of_the_file_passes(file, page, repository_url):
    page.goto(f"{repository_url}/tests/js/page.html")
    results = page.evaluate(
        """async (url) => {
            await import(url);
            return (await import('/tests/js/harness.js')).run();
        }""",
        f"/tests/js/{file.name}",
    )
    failures = [f"{r['name']}: {r['error']}" for r in results if r["error"]]
    assert results
    assert not failures, "\n".join(failures)
