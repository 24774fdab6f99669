"""``scripts/up --help``, and options that can't be used."""

import subprocess
import sys

import pytest

from personaplex_site.up.options import parser
from personaplex_site.up.product import BASE_DIR

PREPARE = [sys.executable, "-S", str(BASE_DIR / "scripts" / "prepare.py"), "up"]


def up(command, *arguments):
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


def test_help_explains_every_option_before_anything_is_installed():
    shown = up(PREPARE, "--help")
    assert shown.returncode == 0
    text = " ".join(shown.stdout.split())
    options = [each for each in parser()._actions if each.dest != "help"]
    assert {each.dest for each in options} >= {"url_prefix", "server", "data"}
    for option in options:
        (name,) = option.option_strings
        assert f"{name} " in text
        assert "(default: " in option.help
        assert " ".join(option.help.split()) in text


@pytest.mark.parametrize("wrong", ["--prot=8000", "--port=70000", "--server=apache"])
def test_a_wrong_option_is_refused_before_anything_is_installed(wrong):
    refused = up(PREPARE, wrong)
    assert refused.returncode == 2
    assert wrong.rpartition("=")[2] in refused.stderr


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    command = [sys.executable, "-m", "personaplex_site.up", "--data", str(tmp_path)]
    refused = up(command, "--model", "nosuch")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("Can't start: There is no model nosuch. --model takes a ")
    assert not [*tmp_path.iterdir()]
