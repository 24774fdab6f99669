"""scripts/find-python: which of several Pythons is taken."""

import os
import shutil
import subprocess

import pytest

from personaplex_site.up.product import BASE_DIR

FAKE = """#!/bin/sh
case "$2" in
    *CONFIG_ARGS*) exit {optimized} ;;
    *ensurepip*) exit {usable} ;;
esac
"""


@pytest.fixture
def pythons(tmp_path):
    def make(**named):
        """name → (usable, optimized)"""
        for name, (usable, optimized) in named.items():
            path = tmp_path / name.replace("_", ".")
            path.write_text(
                FAKE.format(usable=int(not usable), optimized=int(not optimized))
            )
            path.chmod(0o755)
        return tmp_path

    return make


def chosen(folder, **environment):
    done = subprocess.run(
        [shutil.which("sh"), "-c", f". {BASE_DIR}/scripts/find-python; echo $python"],
        env={**os.environ, "PATH": f"{folder}:/nowhere", "PYTHON": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return os.path.basename(done.stdout.strip())


GOOD, SLOW, USELESS = (True, True), (True, False), (False, True)


def test_the_first_that_was_built_to_be_fast(pythons):
    folder = pythons(python3_11=SLOW, python3=USELESS, python3_12=GOOD, python3_13=GOOD)
    assert chosen(folder) == "python3.12"


def test_without_one_the_machines_own_then_the_first_that_works(pythons):
    folder = pythons(python3_11=USELESS, python3_12=SLOW, python3_13=SLOW)
    own = subprocess.run(["/usr/bin/python3", "-c", "import ensurepip"], check=False)
    assert chosen(folder) == ("python3.12" if own.returncode else "python3")


def test_the_one_that_was_asked_for(pythons):
    folder = pythons(python3_11=GOOD, python3_13=SLOW)
    assert chosen(folder, PYTHON=f"{folder}/python3.13") == "python3.13"
