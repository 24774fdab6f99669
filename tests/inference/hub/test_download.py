"""Downloads from a hub on localhost: whole, broken, refused and hostile."""

import contextlib
import json
import shutil
from collections import namedtuple

import pytest

from inference.hub import download as module
from inference.hub import remote
from inference.hub.download import Source, download, is_complete, source_of
from inference.hub.errors import (
    AlreadyRunning,
    BrokenDownload,
    CantWrite,
    DiskFull,
    FileMissing,
    HubFailed,
    LicenceNotAccepted,
    NoChecksum,
    NoNetwork,
    NoToken,
    TokenRefused,
    TokenTooNarrow,
    UnknownLayout,
    UnknownRepository,
    UnknownRevision,
    WrongChecksum,
)
from inference.hub.remote import Repository
from inference.loading.checkpoint import load_model
from inference.loading.safetensors_file import CheckpointError
from inference.prompts.preset_voices import preset_voices
from tests.inference.hub.stand_in import COMMIT, NARROW, STRANGER, TOKEN, StandInHub
from tests.inference.models import LM, published_config, toy_files

NAME = "someone/small"


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """Without a sign-in to the hub."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(remote, "get_token", lambda: None)


@pytest.fixture
def hub():
    with StandInHub(NAME, toy_files()) as hub:
        yield hub


def bar(name, size):
    return contextlib.nullcontext(namedtuple("Bar", "to")(lambda done: None))


def fetch(hub, folder, token=None, name=NAME, revision="main", voices=True):
    repository = Repository(name, revision, token=token, endpoint=hub.url, pause=0.01)
    return download(repository, Source(name, revision, "small", voices), folder, bar)


def files_in(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_whole_repository_loads_afterwards(hub, tmp_path):
    folder = tmp_path / "new" / "model"
    done = fetch(hub, folder)
    assert (done.commit, done.files, done.voices, done.fetched) == (COMMIT, 4, 2, True)
    assert files_in(folder) == {*toy_files(), "voices", "download.json"}
    assert [voice.name for voice in preset_voices(folder)] == ["NATF0", "NATM1"]
    assert load_model(folder).trained
    assert is_complete(folder)
    assert json.loads((folder / "download.json").read_text())["commit"] == COMMIT


def test_the_token_is_shown_to_the_hub_only(hub, tmp_path):
    hub.gated = True
    fetch(hub, tmp_path, TOKEN)
    shown = {token for _, path, token, _ in hub.requests if "/cdn/" not in path}
    elsewhere = {token for _, path, token, _ in hub.requests if "/cdn/" in path}
    assert (shown, elsewhere) == ({TOKEN}, {""})


def test_what_is_there_is_checked_and_kept(hub, tmp_path):
    fetch(hub, tmp_path)
    before = (tmp_path / LM).stat().st_mtime_ns
    hub.requests.clear()
    assert not fetch(hub, tmp_path).fetched
    assert (tmp_path / LM).stat().st_mtime_ns == before
    assert not [path for _, path, _, _ in hub.requests if "/cdn/" in path]


def test_a_file_that_was_damaged_since_is_fetched_again(hub, tmp_path):
    fetch(hub, tmp_path)
    content = bytearray((tmp_path / LM).read_bytes())
    content[-1] ^= 1
    (tmp_path / LM).write_bytes(content)
    assert fetch(hub, tmp_path).fetched
    assert (tmp_path / LM).read_bytes() == toy_files()[LM]


def test_a_connection_cut_in_the_middle_is_resumed(hub, tmp_path):
    hub.cuts[LM] = [100_000, 1, 50_000]
    fetch(hub, tmp_path)
    assert (tmp_path / LM).read_bytes() == toy_files()[LM]
    spans = [span for _, path, _, span in hub.requests if path == f"/cdn/{LM}"]
    assert spans == ["", "bytes=100000-", "bytes=100001-", "bytes=150001-"]


def test_a_download_that_gave_up_resumes_the_next_time(hub, tmp_path):
    hub.cuts[LM] = [100_000] + [0] * remote.ATTEMPTS
    with pytest.raises(BrokenDownload, match=f"100000 of {len(toy_files()[LM])}") as e:
        fetch(hub, tmp_path)
    assert "kept" in e.value.text
    assert not is_complete(tmp_path)
    hub.requests.clear()
    fetch(hub, tmp_path)
    spans = [span for _, path, _, span in hub.requests if path == f"/cdn/{LM}"]
    assert spans == ["bytes=100000-"]
    assert (tmp_path / LM).read_bytes() == toy_files()[LM]
    assert not list(tmp_path.glob("*.part"))


def test_a_server_that_ignores_ranges_sends_all_again(hub, tmp_path):
    hub.cuts[LM], hub.ignores_ranges = [100_000], True
    fetch(hub, tmp_path)
    assert (tmp_path / LM).read_bytes() == toy_files()[LM]


def test_a_wrong_checksum_is_thrown_away(hub, tmp_path):
    hub.corrupt.add(LM)
    with pytest.raises(WrongChecksum, match=LM):
        fetch(hub, tmp_path)
    assert LM not in files_in(tmp_path)
    assert not list(tmp_path.glob("*.part"))
    hub.corrupt.clear()
    fetch(hub, tmp_path)
    assert is_complete(tmp_path)


def test_a_rotten_beginning_is_not_gone_on_with_for_ever(hub, tmp_path):
    hub.cuts[LM] = [100_000] + [0] * remote.ATTEMPTS
    with pytest.raises(BrokenDownload):
        fetch(hub, tmp_path)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(b"x" * 100_000)
    with pytest.raises(WrongChecksum):
        fetch(hub, tmp_path)
    fetch(hub, tmp_path)
    assert (tmp_path / LM).read_bytes() == toy_files()[LM]


def test_more_than_was_announced_is_refused(hub, tmp_path):
    send = hub.send
    hub.send = lambda request, file, span: hub.say(request, 200, {}, b"x" * 10_000_000)
    with pytest.raises(WrongChecksum, match="more than"):
        fetch(hub, tmp_path)
    hub.send = send


@pytest.mark.parametrize(
    ("token", "error", "advice"),
    [
        (None, NoToken, "HF_TOKEN"),
        ("hf_wrong", TokenRefused, "expired"),
        (STRANGER, LicenceNotAccepted, "accept the licence"),
        (NARROW, TokenTooNarrow, "fine-grained"),
    ],
)
def test_each_refusal_says_what_to_do(hub, tmp_path, token, error, advice):
    hub.gated = True
    with pytest.raises(error) as raised:
        fetch(hub, tmp_path, token)
    assert advice in raised.value.text
    assert not is_complete(tmp_path)


def test_the_licence_message_names_the_page(hub, tmp_path):
    hub.gated = True
    with pytest.raises(LicenceNotAccepted) as raised:
        fetch(hub, tmp_path, STRANGER)
    assert f"{hub.url}/{NAME}" in raised.value.text


@pytest.mark.parametrize("token", [None, TOKEN])
def test_an_unknown_repository_is_said_so(hub, tmp_path, token):
    with pytest.raises(UnknownRepository):
        fetch(hub, tmp_path, token, name="someone/else")


@pytest.mark.parametrize("name", ["../../etc", "a/b/c", "a b", ""])
def test_a_name_that_is_none_never_reaches_the_hub(hub, tmp_path, name):
    with pytest.raises(UnknownRepository):
        fetch(hub, tmp_path, name=name)
    assert hub.requests == []


def test_an_unknown_revision_is_said_so(hub, tmp_path):
    with pytest.raises(UnknownRevision, match="v9"):
        fetch(hub, tmp_path, revision="v9")


def test_a_missing_file_is_named(hub, tmp_path):
    del hub.files[LM]
    with pytest.raises(FileMissing, match=LM):
        fetch(hub, tmp_path)


def test_voices_may_be_missing_where_none_are_promised(hub, tmp_path):
    del hub.files["voices.tgz"]
    with pytest.raises(FileMissing, match=r"voices\.tgz"):
        fetch(hub, tmp_path)
    assert fetch(hub, tmp_path, voices=False).voices == 0


def test_no_network_is_said_so(tmp_path):
    gone = StandInHub(NAME, {})
    gone.server.server_close()
    with pytest.raises(NoNetwork, match="127"):
        fetch(gone, tmp_path)


def test_a_failing_hub_is_said_so(hub, tmp_path):
    hub.fails = True
    with pytest.raises(HubFailed, match="503"):
        fetch(hub, tmp_path)


def test_a_server_without_checksums_is_refused(hub, tmp_path):
    hub.no_checksums = True
    with pytest.raises(NoChecksum):
        fetch(hub, tmp_path)


def test_too_small_a_disk_is_reported_before_anything_is_fetched(
    hub, tmp_path, monkeypatch
):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match=r"0\.0 GB free, 0\.2 GB"):
        fetch(hub, tmp_path)
    assert not [path for _, path, _, _ in hub.requests if "/cdn/" in path]


def test_a_disk_that_fills_up_is_reported(hub, tmp_path, monkeypatch):
    def full(*words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote._Transfer, "add", full)
    with pytest.raises(DiskFull) as raised:
        fetch(hub, tmp_path)
    assert "--to" in raised.value.text


def test_a_folder_that_is_none_is_reported(hub, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CantWrite, match="file"):
        fetch(hub, tmp_path / "file" / "model")


def test_two_downloads_into_one_folder_are_refused(hub, tmp_path):
    with module._alone(tmp_path), pytest.raises(AlreadyRunning):
        fetch(hub, tmp_path)


def test_the_sizes_of_a_nearly_empty_configuration_are_the_published_ones(
    hub, tmp_path
):
    """So a small model under the published names does not pass for it."""
    hub.files["config.json"] = b'{"model_type": "personaplex"}'
    with pytest.raises(CheckpointError, match=r"missing transformer\.layers\.2\."):
        fetch(hub, tmp_path)
    assert not is_complete(tmp_path)


def test_a_configuration_that_cannot_be_run_is_reported(hub, tmp_path):
    hub.files["config.json"] = b'{"dim": 4096, "demux_second_stream": true}'
    with pytest.raises(UnknownLayout, match="demux_second_stream"):
        fetch(hub, tmp_path)
    hub.files["config.json"] = b"\xff\xfe"
    with pytest.raises(UnknownLayout):
        fetch(hub, tmp_path)


def test_known_models_have_short_names():
    known = source_of("personaplex-7b")
    assert known == source_of("nvidia/personaplex-7b-v1")
    assert len(known.revision) == 40
    assert source_of("personaplex-7b", "main").revision == "main"
    assert source_of("moshiko").repository == "kyutai/moshiko-pytorch-bf16"
    assert source_of("you/tuned") == Source("you/tuned", "main", "tuned", False)


def test_a_folder_counts_as_complete_only_with_all_its_files(hub, tmp_path):
    assert not is_complete(tmp_path)
    fetch(hub, tmp_path)
    (tmp_path / LM).write_bytes(b"short")
    assert not is_complete(tmp_path)
    for receipt in ("", "[]", '{"files": 3}', '{"files": {}}'):
        (tmp_path / "download.json").write_text(receipt)
        assert not is_complete(tmp_path)


def test_our_own_configuration_is_taken_over(hub, tmp_path):
    fetch(hub, tmp_path)
    assert (tmp_path / "config.json").read_text() == published_config().to_json()
