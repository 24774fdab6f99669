"""The voices of a model over HTTP: their names, digests and bytes, with the secret."""

import hashlib

import pytest

from inference.worker.options import WorkerOptions
from tests.inference.worker.conftest import SECRET, running
from tests.inference.worker.test_server import get


@pytest.fixture
def model(tmp_path):
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "NATF2.pt").write_bytes(b"a voice")
    (tmp_path / "voices" / "Nora_B.pt").write_bytes(b"another")
    (tmp_path / "voices" / ".hidden.pt").write_bytes(b"")
    (tmp_path / "secret.pt").write_bytes(b"not a voice")
    return tmp_path


async def test_they_are_listed_and_served(model):
    async with running(options=WorkerOptions(SECRET, model=model)) as rig:
        listed = (await get(rig, "/presets", SECRET)).json()
        assert listed == [
            {
                "name": "NATF2",
                "label": "Natural, female 2",
                "digest": hashlib.sha256(b"a voice").hexdigest(),
            },
            {
                "name": "Nora_B",
                "label": "Nora B",
                "digest": hashlib.sha256(b"another").hexdigest(),
            },
        ]
        assert (await get(rig, "/presets/NATF2", SECRET)).content == b"a voice"
        (model / "voices" / "Tom.pt").write_bytes(b"new")
        assert len((await get(rig, "/presets", SECRET)).json()) == 3


async def test_only_the_site_may_have_them(model):
    async with running(options=WorkerOptions(SECRET, model=model)) as rig:
        for path in ("/presets", "/presets/NATF2"):
            assert (await get(rig, path)).status_code == 401
            assert (await get(rig, path, "wrong")).status_code == 401


@pytest.mark.parametrize(
    "name", ["NATF9", "../secret", "..%2Fsecret", "%2e%2e/secret", "", ".hidden"]
)
async def test_no_path_is_built_from_what_is_asked_for(model, name):
    async with running(options=WorkerOptions(SECRET, model=model)) as rig:
        answer = await get(rig, f"/presets/{name}", SECRET)
        assert answer.status_code == 404
        assert b"not a voice" not in answer.content


async def test_an_engine_without_a_directory_has_none(rig):
    assert (await get(rig, "/presets", SECRET)).json() == []
    assert (await get(rig, "/presets/NATF2", SECRET)).status_code == 404
