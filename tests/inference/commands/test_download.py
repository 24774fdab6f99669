"""``python -m inference download`` as its own process, against a hub on localhost."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.inference.hub.stand_in import STRANGER, TOKEN, StandInHub
from tests.inference.models import LM, toy_files

NAME = "someone/small"


@pytest.fixture
def hub():
    with StandInHub(NAME, toy_files(), gated=True) as hub:
        yield hub


def start(hub, home, *words, token=None, **more):
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hf"),
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        **more,
    }
    if token:
        environment["HF_TOKEN"] = token
    return subprocess.Popen(
        [sys.executable, "-m", "inference", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(hub, home, *words, token=None, **more):
    process = start(hub, home, *words, token=token, **more)
    out, err = process.communicate(timeout=90)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_it_downloads_and_the_model_is_known_by_its_name(hub, tmp_path):
    ended = run(hub, tmp_path, "download", "--model", NAME, token=TOKEN)
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    assert "4 files" in line
    assert "2 voices" in line
    assert TOKEN not in ended.stdout + ended.stderr
    folder = tmp_path / ".cache" / "personaplex" / "models" / "small"
    assert json.loads((folder / "download.json").read_text())["repository"] == NAME
    listed = run(hub, tmp_path, "voices", "--model", "small")
    assert listed.stdout.splitlines()[0].startswith("NATF0\t")


def test_no_token_ends_in_one_line_that_says_what_to_do(hub, tmp_path):
    ended = run(hub, tmp_path, "download", "--model", NAME, "--to", str(tmp_path / "m"))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "HF_TOKEN" in line
    assert ended.stdout == ""


def test_the_offline_mode_of_the_hub_is_named(hub, tmp_path):
    ended = run(hub, tmp_path, "download", "--model", NAME, HF_HUB_OFFLINE="1")
    assert ended.returncode == 1
    assert "HF_HUB_OFFLINE is set" in ended.stderr.splitlines()[-1]
    assert hub.requests == []


def test_an_unaccepted_licence_names_its_page(hub, tmp_path):
    ended = run(hub, tmp_path, "download", "--model", NAME, token=STRANGER)
    assert ended.returncode == 1
    assert f"{hub.url}/{NAME}" in ended.stderr.splitlines()[-1]
    assert STRANGER not in ended.stderr


def test_a_killed_download_resumes_where_it_was(hub, tmp_path):
    hub.cuts[LM] = [500_000]
    hub.stalled.clear()
    words = ("download", "--model", NAME, "--to", str(tmp_path / "m"))
    process = start(hub, tmp_path, *words, token=TOKEN)
    assert hub.cut.wait(60)
    deadline = time.monotonic() + 20
    while not part_size(tmp_path / "m") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    kept = part_size(tmp_path / "m")
    assert 0 < kept <= 500_000
    hub.stalled.set()
    hub.requests.clear()
    assert run(hub, tmp_path, *words, token=TOKEN).returncode == 0
    spans = [span for _, path, _, span in hub.requests if path == f"/cdn/{LM}"]
    assert spans == [f"bytes={kept}-"]
    assert (tmp_path / "m" / LM).read_bytes() == toy_files()[LM]


def part_size(folder):
    return sum(part.stat().st_size for part in folder.glob(f"{LM}.*.part"))
