"""Small models as files: under the published names, or as our own directory."""

import functools
import io
import tarfile

import torch
from safetensors.torch import save

from inference.engine.voice_encoding import voice_of_codes
from inference.loading.checkpoint import BUILT_IN, state_to_store
from inference.network.config import PERSONAPLEX_7B, TINY
from inference.network.mimi import Mimi
from inference.prompts.voice_file import write_voice
from tests.inference.toys import seeded, toy_config, toy_lm, toy_model

LM, CODEC = PERSONAPLEX_7B.weights, PERSONAPLEX_7B.codec
TOKENIZER = PERSONAPLEX_7B.tokenizer


def published_config(**changes):
    """A toy's, with the file names of the published repository."""
    from dataclasses import replace

    names = {"weights": LM, "codec": CODEC, "tokenizer": TOKENIZER}
    return replace(toy_config(context=400), **names, **changes)


@functools.cache
def toy_files():
    """name: bytes of a whole small repository."""
    config = published_config()
    mimi = Mimi(config.mimi)
    mimi.init_weights(seeded(8))
    codec = {name: tensor.clone() for name, tensor in mimi.state_dict().items()}
    return {
        "config.json": config.to_json().encode(),
        LM: save(state_to_store(toy_lm(config))),
        CODEC: save(codec),
        TOKENIZER: (BUILT_IN / TINY.name / TINY.tokenizer).read_bytes(),
        "voices.tgz": archive(
            {"voices/NATF0.pt": voice(1), "voices/NATM1.pt": voice(2)}
        ),
    }


def packed_voices():
    return {"voices/NATF0.pt": voice(1), "voices/NATM1.pt": voice(2)}


@functools.cache
def voice(seed=1, frames=12):
    model = toy_model()
    bins = model.config.audio_cardinality
    codes = torch.randint(bins, (frames, 8), generator=seeded(seed))
    return write_voice(voice_of_codes(model, codes))


def archive(files, *members):
    """A .tgz of files, then of members, each a TarInfo or (TarInfo, bytes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            if isinstance(member, tuple):
                tar.addfile(member[0], io.BytesIO(member[1]))
            else:
                tar.addfile(member)
    return out.getvalue()


def write_files(folder, files=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (files or toy_files()).items():
        (folder / name).write_bytes(content)
    return folder
