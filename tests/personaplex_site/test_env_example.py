"""settings.py, the worker's options and .env.example name the same variables."""

import argparse
import os
import re
import runpy
from pathlib import Path

import pytest

from inference.commands import _options, serve
from personaplex_site import env

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"#?([A-Z_]+)=(.*)")


@pytest.fixture(scope="module")
def example():
    """Name → (default, whether it is commented out, the comment above)."""
    found, comment = {}, []
    for line in (ROOT / ".env.example").read_text().splitlines():
        if match := LINE.fullmatch(line):
            name, value = match.groups()
            assert name not in found, f"{name} stands there twice"
            found[name] = (value, line.startswith("#"), " ".join(comment))
        comment = [*comment, line.lstrip("# ")] if line.startswith("# ") else []
    return found


@pytest.fixture
def settings_variables(monkeypatch):
    """Name → default, as settings.py asks for them."""
    asked = {}

    def recording(reader):
        def read(name, default=None, **limits):
            asked[name] = default
            value = os.environ.get(name)
            return reader(name, default, **limits) if value is None else value

        return read

    needed = ("SECRET_KEY", "WORKER_SECRET", "DATABASE_URL", "REDIS_URL")
    values = {name: os.environ[name] for name in needed}
    monkeypatch.setattr(
        env,
        "envone",
        lambda name, *choices: asked.setdefault(name, choices[0]),
    )
    monkeypatch.setattr(
        env, "envurl", lambda name, *schemes: asked.setdefault(name) or values[name]
    )
    readers = ("envstr", "envbool", "envint", "envlist", "envnetworks", "envpath")
    readers += ("envprefix",)
    monkeypatch.setattr(
        env,
        "envurl",
        lambda name, *schemes: asked.setdefault(name) or values[name],
    )
    for reader in readers:
        monkeypatch.setattr(env, reader, recording(getattr(env, reader)))
    for name in (ROOT / ".env.example").read_text().split():
        monkeypatch.delenv(name.lstrip("#").partition("=")[0], raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    runpy.run_path(str(ROOT / "personaplex_site" / "settings.py"))
    return asked


@pytest.fixture
def worker_variables(monkeypatch):
    asked = {}

    def add_option(parser, flag, variable, default, help, kind=str):
        asked[variable] = default

    monkeypatch.setattr(_options, "add_option", add_option)
    serve.add_arguments(argparse.ArgumentParser())
    return asked


def test_it_has_every_variable_and_no_other(
    example, settings_variables, worker_variables
):
    assert set(example) == {*settings_variables, *worker_variables}


def test_it_shows_the_defaults(example, settings_variables, worker_variables):
    for name, default in {**settings_variables, **worker_variables}.items():
        value, commented, _ = example[name]
        if default is None:
            assert (value, commented) == ("", False), f"{name} is required"
        elif isinstance(default, Path):
            assert commented, name
        else:
            assert (value, commented) == (str(default), True), name


def test_it_says_what_each_means(example):
    assert [
        name for name, (_, _, meaning) in example.items() if len(meaning) < 15
    ] == []
