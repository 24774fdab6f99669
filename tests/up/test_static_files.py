"""Pages that are open during an update still find the files that belong to them."""

import json
import os
import time

import pytest

from personaplex_site.up import static_files

DAY = 24 * 3600


@pytest.fixture
def site(settings, tmp_path):
    source, root = tmp_path / "source", tmp_path / "collected"
    source.mkdir()
    settings.STATICFILES_DIRS, settings.STATIC_ROOT = [source], root
    settings.STATICFILES_FINDERS = [
        "django.contrib.staticfiles.finders.FileSystemFinder"
    ]
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {
            "BACKEND": "personaplex_site.static_storage.HashedStaticFilesStorage"
        },
    }
    (source / "main.js").write_text('import { late } from "./late.js";\nlate();\n')
    return source, root


def update(source, number):
    path = source / "late.js"
    path.write_text(f"export const late = () => console.log({number});\n")
    os.utime(path, (number, number))  # older than what is there, as after a downgrade


def collect(root):
    """Path of each file's hashed name."""
    static_files.collect()
    names = json.loads((root / "staticfiles.json").read_text())["paths"]
    return {name: root / hashed for name, hashed in names.items()}


def test_files_of_the_version_before_stay_for_open_pages(site, capsys):
    source, root = site
    update(source, 2)
    before = collect(root)
    update(source, 1)
    after = collect(root)

    assert before["late.js"] != after["late.js"]
    assert before["main.js"] != after["main.js"], "it names the module that it imports"
    assert before["late.js"].name in before["main.js"].read_text()
    assert "log(2)" in before["late.js"].read_text()
    assert "log(1)" in after["late.js"].read_text()
    assert "log(1)" in (root / "late.js").read_text()


def test_they_go_when_no_version_has_used_them_for_long(site, settings):
    source, root = site
    settings.STATIC_KEPT_DAYS = 30
    versions = []
    for number in (1, 2, 3):
        update(source, number)
        versions.append(collect(root)["late.js"])
        long_ago = time.time() - 40 * DAY
        for path in root.rglob("*.js*"):
            os.utime(path, (long_ago, long_ago))
    first, second, third = versions

    assert not first.exists()
    assert second.exists(), "it was in use until a moment ago"
    assert third.exists()


def test_nothing_is_collected_twice(site, capsys):
    source, root = site
    update(source, 1)
    first = collect(root)["late.js"]
    was = first.stat().st_mtime_ns
    capsys.readouterr()
    collect(root)

    assert capsys.readouterr().out == ""
    assert first.stat().st_mtime_ns == was


def test_a_folder_with_something_else_in_it_is_not_cleared(site):
    source, root = site
    root.mkdir()
    (root / "mine.txt").write_text("kept")
    update(source, 1)
    collect(root)

    assert (root / "mine.txt").read_text() == "kept"
