"""Whether every pinned requirement has a wheel for each machine the product runs on.

Resolves requirements.txt and the development tools for aarch64 (a DGX Spark, for one)
and x86-64 and for each Python that is supported, from the package index alone: nothing
is installed, and no other machine is needed. Ends with 1 where a pin does not resolve,
and says that nothing was checked where the index can't be reached.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TARGETS = [
    *(("aarch64", version) for version in ("3.11", "3.12", "3.13")),
    *(("x86_64", version) for version in ("3.11", "3.12", "3.13", "3.14")),
]
FILES = ("requirements.txt", "requirements-dev.txt")
# Has no wheel anywhere: it is pure Python, so that pip builds one without a compiler.
FROM_SOURCE = ("opuslib",)
NO_SOLUTION = 1  # uv's exit status; 2 is anything else, such as a network that is away


def main() -> int:
    with ThreadPoolExecutor(len(TARGETS)) as threads:
        results = list(threads.map(lambda target: resolve(*target), TARGETS))
    unsolved = [r for r in results if r.returncode == NO_SOLUTION]
    unreached = [r for r in results if r.returncode not in (0, NO_SOLUTION)]
    for result in unsolved or unreached[:1]:
        print(result.stderr.strip()[-2000:])
    names = ", ".join(f"{machine} {version}" for machine, version in TARGETS)
    if unreached:
        print(f"requirements: NOT CHECKED for {len(unreached)} of {names}")
    if not unsolved and not unreached:
        print(f"requirements: each pin has a wheel for {names}")
    return 1 if unsolved else 0


def resolve(machine: str, version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"]
    command += ["--python-version", version, "--no-config"]
    command += ["--python-platform", f"{machine}-unknown-linux-gnu"]
    command += ["--only-binary", ":all:"]
    for name in FROM_SOURCE:
        command += ["--no-binary", name]
    return subprocess.run(
        [*command, *FILES, "--output-file", "/dev/null"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
