"""``.pt`` files: written, read back, and every way in which one may be hostile."""

import io
import os
import pickle
import random
import zipfile

import pytest
import torch

from inference.engine.voice_encoding import voice_of_codes
from inference.errors import VoicePromptError
from inference.prompts.voice_file import MAX_BYTES, read_voice, write_voice
from tests.inference.toys import seeded, toy_model

MODEL = toy_model()
DIM = MODEL.config.temporal.dim


def good_tensors(frames=12):
    codes = torch.randint(
        MODEL.config.audio_cardinality, (frames, 8), generator=seeded(1)
    )
    voice = voice_of_codes(MODEL, codes)
    return {
        "embeddings": voice.embeddings[:, None, None].clone(),
        "cache": voice.ring[None].clone(),
    }


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def refused(data, match="not a voice prompt"):
    with pytest.raises(VoicePromptError, match=match) as error:
        read_voice(data, MODEL.config)
    assert "voice" in error.value.text


def test_what_is_written_is_the_reference_format():
    voice = voice_of_codes(MODEL, torch.zeros(12, 8, dtype=torch.int64))
    loaded = torch.load(io.BytesIO(write_voice(voice)), weights_only=True)
    assert set(loaded) == {"embeddings", "cache"}
    assert loaded["embeddings"].shape == (11, 1, 1, DIM)
    assert loaded["embeddings"].dtype == torch.bfloat16
    assert loaded["cache"].shape == (1, 17, 4)
    assert loaded["cache"].dtype == torch.int64


def test_it_reads_what_it_writes():
    tensors = good_tensors()
    voice = read_voice(saved(tensors), MODEL.config)
    assert voice.frames == 12
    again = read_voice(write_voice(voice), MODEL.config)
    assert torch.equal(again.embeddings, tensors["embeddings"][:, 0, 0])
    assert torch.equal(again.ring, tensors["cache"][0])


def test_code_in_the_file_is_not_run(tmp_path):
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    refused(saved({**good_tensors(), "embeddings": Evil()}))
    refused(pickle.dumps(Evil()))
    assert not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"embeddings": torch.zeros(5, 1, 1, DIM)},
        {"embeddings": torch.zeros(5, 1, 1, DIM + 1, dtype=torch.bfloat16)},
        {"embeddings": torch.zeros(5, 1, DIM, dtype=torch.bfloat16)},
        {"embeddings": torch.zeros(0, 1, 1, DIM, dtype=torch.bfloat16)},
        {"embeddings": torch.full((11, 1, 1, DIM), torch.nan, dtype=torch.bfloat16)},
        {"embeddings": torch.full((11, 1, 1, DIM), torch.inf, dtype=torch.bfloat16)},
        {
            "embeddings": torch.zeros(1, 1, 1, DIM, dtype=torch.bfloat16).expand(
                10**9, -1, -1, -1
            )
        },
        {"embeddings": torch.zeros(5, 1, 1, DIM, dtype=torch.bfloat16).to_sparse()},
        {"embeddings": torch.empty(5, 1, 1, DIM, dtype=torch.bfloat16, device="meta")},
        {"embeddings": [1.0] * DIM},
        {"cache": torch.zeros(1, 17, 4)},
        {"cache": torch.zeros(1, 17, 5, dtype=torch.int64)},
        {"cache": torch.full((1, 17, 4), 10**6)},
        {"cache": torch.full((1, 17, 4), -2)},
        {"cache": None},
        {"more": torch.zeros(1)},
    ],
    ids=str,
)
def test_tensors_of_another_kind_shape_or_range_are_refused(change):
    refused(saved({**good_tensors(), **change}))


def test_missing_tensors_are_refused():
    refused(saved({"cache": good_tensors()["cache"]}), "exactly")
    refused(saved(good_tensors()["cache"]), "exactly")


def test_a_module_is_refused():
    refused(saved(torch.nn.Linear(2, 2)))


def test_other_bytes_are_refused():
    for data in (b"", b"\0", b"RIFF" * 100, b"PK\3\4" + b"x" * 50, b"\x80\x02]." * 9):
        refused(data)


def test_the_old_format_of_torch_is_refused():
    refused(saved(good_tensors(), _use_new_zipfile_serialization=False))


def test_a_huge_file_is_refused_unread():
    refused(b"x" * (MAX_BYTES + 1), "bytes")


def test_a_bomb_is_refused():
    """40 kB that would unpack to 40 MB."""
    inner = saved({**good_tensors(), "embeddings": torch.zeros(10**7)})
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(inner)) as source,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert len(file.getvalue()) < 100_000
    refused(file.getvalue(), "compressed")


def test_broken_files_are_refused_and_never_crash():
    """1,000 truncations, flips and splices of a good file: read or refused."""
    good, chance = saved(good_tensors()), random.Random(4)
    ends = 0
    for _ in range(1000):
        data = bytearray(good)
        match chance.randrange(3):
            case 0:
                del data[chance.randrange(len(data)) :]
            case 1:
                for _ in range(chance.randrange(1, 20)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            case 2:
                at, other = chance.randrange(len(data)), chance.randrange(len(data))
                data[at : at + 40] = data[other : other + 40]
        try:
            read_voice(bytes(data), MODEL.config)
        except VoicePromptError:
            ends += 1
    assert ends > 300
