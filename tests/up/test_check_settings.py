"""Settings that can't be used are named before anything starts."""

import os
import socket
import subprocess
import sys

import pytest

from personaplex_site.up import preflight
from personaplex_site.up.product import BASE_DIR, Options, site_environment
from tests.up.product import OURS

SECRET = "s" * 40


@pytest.fixture
def problems(tmp_path, monkeypatch):
    for name in OURS:
        monkeypatch.delenv(name, raising=False)

    def look(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        secrets = {"SECRET_KEY": SECRET, "WORKER_SECRET": SECRET}
        return preflight.problems_of(site_environment(Options(tmp_path), secrets))

    return look


def test_what_is_right_is_no_problem(problems):
    assert problems(VOICE_MIN_SECONDS=4, WORKER_SLOTS=2) == []


def test_everything_that_is_wrong_is_named_at_once(problems, tmp_path):
    (tmp_path / "media").touch()
    found = problems(
        VOICE_MIN_SECONDS="many",
        VOICE_USED_SECONDS="",
        LOG_LEVEL="foo",
        DATABASE_URL="sqlite:///file",
        REDIS_URL="localhost",
        WORKER_SLOTS="abc",
        HEARTBEAT_SECONDS="0",
        ALLOWED_HOSTS="https://example.org",
        WORKER_SECRET="short",
    )
    wanted = [
        *("VOICE_MIN_SECONDS", "VOICE_USED_SECONDS", "LOG_LEVEL", "DATABASE_URL"),
        *("REDIS_URL", "WORKER_SLOTS", "HEARTBEAT_SECONDS", "ALLOWED_HOSTS"),
        *("WORKER_SECRET", "MEDIA_ROOT"),
    ]
    assert len(found) == len(wanted), found
    assert all(any(name in text for text in found) for name in wanted), found
    assert not any("sqlite" in text for text in found), "it may hold a password"


def test_values_that_contradict_each_other_or_are_too_weak(problems, tmp_path):
    (tmp_path / "media").touch()
    found = problems(VOICE_MIN_SECONDS=100, SECRET_KEY="short", WORKER_SECRET="short")
    wanted = [
        "SECRET_KEY is shorter",
        "WORKER_SECRET is shorter",
        "MEDIA_ROOT",
        "VOICE_MIN_SECONDS",
    ]
    assert len(found) == len(wanted)
    assert all(any(name in text for text in found) for name in wanted), found
    assert any("it is a file" in text for text in found)


def test_given_servers_must_answer(problems):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        found = problems(
            DATABASE_URL=f"postgres://nobody:secret@127.0.0.1:{port}/nothing",
            REDIS_URL=f"redis://:secret@127.0.0.1:{port}/0",
        )
    database, redis = found
    assert "The database of DATABASE_URL can't be used" in database
    assert "Redis does not answer at REDIS_URL" in redis
    assert "secret" not in database + redis


def test_the_supervisor_starts_nothing_and_ends_with_2(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in OURS}
    done = subprocess.run(
        [sys.executable, "-m", "personaplex_site.up", "--data", str(tmp_path / "data")],
        cwd=BASE_DIR,
        env={**environment, "LOG_LEVEL": "foo", "RESUME_SECONDS": "soon"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert "LOG_LEVEL must be one of" in done.stderr
    assert "RESUME_SECONDS must be a whole number" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_command_of_its_own_says_the_same(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in OURS}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=BASE_DIR,
        env={**environment, "RESUME_SECONDS": "soon"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Set SECRET_KEY")


def test_what_an_operator_set_is_in_the_environment_of_later_commands(monkeypatch):
    monkeypatch.setenv("VOICE_MAX_SECONDS", "45")
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    given = preflight.given_settings()
    assert given["VOICE_MAX_SECONDS"] == "45"
    assert "SOMETHING_ELSE" not in given
