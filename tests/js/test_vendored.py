"""Files of others in static/vendor are those that docs/dependencies.md names."""

import hashlib
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VENDOR = REPOSITORY / "static" / "vendor"
DOCS = (REPOSITORY / "docs" / "dependencies.md").read_text()


def test_every_file_has_the_checksum_that_is_written_down():
    # The declarations of types are our own.
    paths = [path for path in VENDOR.rglob("*") if not path.name.endswith(".d.ts")]
    files = [path for path in paths if path.is_file()]
    found = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert found == dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", DOCS))


def test_every_package_has_its_licence():
    packages = [path for path in VENDOR.iterdir() if path.is_dir()]
    assert packages
    for package in packages:
        assert "Copyright (c)" in (package / "LICENSE").read_text()
