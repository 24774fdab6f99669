"""The options that choose the fast engine, where there is no GPU for it."""

import argparse

import pytest

from inference.__main__ import build_parser
from inference.commands._engine import NoFastEngine, fast_engine


def options(*words):
    return build_parser().parse_args(["serve", *words])


def test_the_plain_engine_is_the_default():
    assert (options().weights, options().kv) == ("", "bf16")


@pytest.mark.parametrize("words", [["--weights", "int3"], ["--kv", "fp8"]])
def test_unknown_formats_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        options(*words)
    assert "must be one of" in capsys.readouterr().err


def test_it_says_what_the_fast_engine_needs():
    arguments = options("--weights", "int8", "--device", "cpu")
    assert isinstance(arguments, argparse.Namespace)
    with pytest.raises(NoFastEngine) as refused:
        fast_engine(arguments)
    assert "CUDA GPU" in refused.value.text
