"""What is looked at before the first process starts: the settings and given servers.

Runs ``check_settings`` in a process of its own, since the supervisor imports no Django.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from personaplex_site.up.product import BASE_DIR

SECONDS = 60.0
SERVERS = {
    "DATABASE_URL": "postgres://127.0.0.1/started-later",
    "REDIS_URL": "redis://127.0.0.1/0",
}


def problems_of(site: dict[str, str]) -> list[str]:
    """A sentence for each setting that can't be used, each with what to do.

    ``site``: the environment that the product's processes will have, without the
    servers that are only started later.
    """
    given = [name for name in SERVERS if os.environ.get(name)]
    later = {name: url for name, url in SERVERS.items() if name not in given}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "personaplex_site.up.check_settings", *given],
            cwd=BASE_DIR,
            env={**os.environ, **site, **later},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return [f"The settings were not checked within {SECONDS:.0f} s."]
    lines = done.stdout.splitlines()
    if done.returncode not in (0, 2):
        lines = done.stderr.splitlines()[-1:] or ["The settings can't be checked."]
    return lines if done.returncode else []


def given_settings() -> dict[str, str]:
    """The settings of .env.example that are set in our own environment."""
    example = (BASE_DIR / ".env.example").read_text()
    names = re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)
    return {name: os.environ[name] for name in names if os.environ.get(name)}
