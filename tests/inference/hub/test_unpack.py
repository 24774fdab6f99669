"""Archives of voices that are not what they should be."""

import gzip
import io
import os
import tarfile

import pytest
import torch

from inference.errors import PersonaplexError, VoicePromptError
from inference.hub import unpack
from inference.hub.errors import HostileArchive
from inference.hub.unpack import voices_in
from inference.prompts.preset_voices import add_voices, preset_voices
from tests.inference.models import archive, packed_voices, published_config, voice

CONFIG = published_config()


def member(name, kind=tarfile.REGTYPE, link="", size=0):
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, size
    return found


def unpacked(tmp_path, content):
    """Everything that appears anywhere near: nothing but voices, or nothing."""
    model = tmp_path / "in" / "model"
    model.mkdir(parents=True)
    (model / "voices.tgz").write_bytes(content)
    try:
        return add_voices(model, voices_in(model / "voices.tgz"), CONFIG)
    finally:
        assert sorted(os.listdir(tmp_path)) == ["in"]
        assert os.listdir(tmp_path / "in") == ["model"]
        assert set(os.listdir(model)) <= {"voices.tgz", "voices"}


def refused(tmp_path, content, match, error=HostileArchive):
    with pytest.raises(error, match=match) as raised:
        unpacked(tmp_path, content)
    assert raised.value.text
    assert not (tmp_path / "in" / "model" / "voices").exists()


def test_the_voices_of_a_good_archive_become_presets(tmp_path):
    content = archive(packed_voices(), member("voices", tarfile.DIRTYPE))
    assert unpacked(tmp_path, content) == ["NATF0", "NATM1"]
    voices = preset_voices(tmp_path / "in" / "model")
    assert [v.label for v in voices] == ["Natural, female 0", "Natural, male 1"]
    assert voices[0].read() == voice(1)


def test_other_harmless_files_are_passed_over(tmp_path):
    extra = {"voices/README.txt": b"hello", "voices/._NATF0.pt": b"\0" * 40}
    assert unpacked(tmp_path, archive({**extra, **packed_voices()})) == [
        "NATF0",
        "NATM1",
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/evil.pt", "/voices/x.pt", "../evil.pt", "voices/../../evil.pt"),
        *("voices/..", "..\\evil.pt", "voices/a\\b.pt", "//x.pt"),
    ],
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    content = archive(packed_voices(), (member(name, size=3), b"abc"))
    refused(tmp_path, content, "leads out")


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "NATF0.pt"),
        (tarfile.LNKTYPE, "voices/NATF0.pt"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CONTTYPE, ""),
    ],
)
def test_links_and_devices_are_refused(tmp_path, kind, link):
    content = archive(packed_voices(), member("voices/evil.pt", kind, link))
    refused(tmp_path, content, "a link, a device")


def test_a_link_to_a_folder_and_a_file_through_it_are_refused(tmp_path):
    content = archive(
        {},
        member("voices", tarfile.SYMTYPE, str(tmp_path)),
        (member("voices/evil.pt", size=3), b"abc"),
    )
    refused(tmp_path, content, "a link")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    """1 MB that unpacks to a gigabyte, read no further than the bound."""
    monkeypatch.setattr(unpack, "MAX_TOTAL", 4 * 1024 * 1024)
    out = io.BytesIO()
    with gzip.open(out, "wb", compresslevel=1) as packed:
        packed.write(member("voices/README", size=2**30).tobuf())
        for _ in range(64):
            packed.write(bytes(2**20))
    refused(tmp_path, out.getvalue(), "unpacks to more than")


def test_a_voice_that_is_far_too_large_is_refused(tmp_path):
    out = io.BytesIO()
    with gzip.open(out, "wb") as packed:
        packed.write(member("voices/huge.pt", size=2**33).tobuf())
    refused(tmp_path, out.getvalue(), "huge has 8589934592 bytes")


def test_a_header_that_claims_gigabytes_allocates_none(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MAX_TOTAL", 4 * 1024 * 1024)
    out = io.BytesIO()
    with gzip.open(out, "wb") as packed:
        packed.write(member("x", tarfile.XHDTYPE, size=2**40).tobuf())
        packed.write(bytes(5 * 1024 * 1024))
    refused(tmp_path, out.getvalue(), "more than|")


def test_thousands_of_members_are_refused(tmp_path):
    many = {f"voices/{i}.txt": b"" for i in range(300)}
    refused(tmp_path, archive({**many, **packed_voices()}), "more than 256 members")


def test_one_name_twice_is_refused(tmp_path):
    again = (member("NATF0.pt", size=3), b"abc")
    refused(tmp_path, archive(packed_voices(), again), "NATF0 twice")


def test_an_archive_without_voices_is_refused(tmp_path):
    refused(tmp_path, archive({"README": b"x"}), "no voices")


def test_what_is_no_archive_is_refused(tmp_path):
    refused(tmp_path, b"hello", "voices.tgz")


def test_an_archive_that_breaks_off_is_refused(tmp_path):
    content = archive(packed_voices())
    refused(tmp_path, content[: len(content) // 2], "voices.tgz|breaks off")


def test_a_voice_with_code_in_it_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "in" / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    out = io.BytesIO()
    torch.save({"embeddings": Evil(), "cache": Evil()}, out)
    evil = {"voices/NATF3.pt": out.getvalue()}
    refused(
        tmp_path, archive({**packed_voices(), **evil}), "voice NATF3", VoicePromptError
    )
    assert not mark.exists()


def test_truncations_and_flips_are_refused_and_never_crash(tmp_path):
    import random

    chance, good = random.Random(3), archive(packed_voices())
    plain = gzip.decompress(good)
    path, refusals = tmp_path / "voices.tgz", 0
    for case in range(200):
        data = bytearray(good if case % 2 else plain)
        for _ in range(chance.randrange(1, 8)):
            # Headers are where it hurts: half of the changes hit the first of them.
            limit = 600 if chance.random() < 0.5 else len(data)
            data[chance.randrange(limit)] = chance.randrange(256)
        path.write_bytes(data if case % 2 else gzip.compress(bytes(data), 1))
        try:
            for _ in voices_in(path):
                pass
        except PersonaplexError:
            refusals += 1
    assert refusals > 60
