"""The voices of a model over HTTP: their names, digests and bytes, with the secret."""

import hashlib

import pytest

from inference.worker.options import WorkerOptions
from inference.worker.protocol import FINGERPRINT_HEADER
from tests.inference.models import published_config, voice
from tests.inference.worker.conftest import SECRET, running
from tests.inference.worker.test_server import get


@pytest.fixture
def model(tmp_path):
    (tmp_path / "voices").mkdir()
    (tmp_path / "config.json").write_text(published_config().to_json())
    (tmp_path / "voices" / "NATF2.pt").write_bytes(voice(1))
    (tmp_path / "voices" / "Nora_B.pt").write_bytes(voice(2, frames=25))
    (tmp_path / "voices" / ".hidden.pt").write_bytes(b"")
    (tmp_path / "secret.pt").write_bytes(b"not a voice")
    return tmp_path


async def test_they_are_listed_and_served(model):
    async with running(options=WorkerOptions(SECRET, model=model)) as rig:
        answer = await get(rig, "/presets", SECRET)
        assert answer.headers[FINGERPRINT_HEADER] == rig.engine.info.fingerprint
        assert answer.json() == [
            {
                "name": "NATF2",
                "label": "Natural, female 2",
                "digest": hashlib.sha256(voice(1)).hexdigest(),
                "seconds": 0.96,
            },
            {
                "name": "Nora_B",
                "label": "Nora B",
                "digest": hashlib.sha256(voice(2, frames=25)).hexdigest(),
                "seconds": 2.0,
            },
        ]
        answer = await get(rig, "/presets/NATF2", SECRET)
        assert answer.content == voice(1)
        assert answer.headers[FINGERPRINT_HEADER] == rig.engine.info.fingerprint
        (model / "voices" / "Tom.pt").write_bytes(voice(3))
        assert len((await get(rig, "/presets", SECRET)).json()) == 3


async def test_what_the_model_cannot_speak_with_is_not_offered(model, caplog):
    (model / "voices" / "Broken.pt").write_bytes(b"not a voice")
    async with running(options=WorkerOptions(SECRET, model=model)) as rig:
        for _ in range(2):
            listed = (await get(rig, "/presets", SECRET)).json()
            assert [one["name"] for one in listed] == ["NATF2", "Nora_B"]
    assert caplog.text.count("Broken.pt is not offered") == 1


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
