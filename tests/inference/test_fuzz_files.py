"""1,000 broken or hostile files of each kind's own structure: read, or refused with a
clear error; never a crash, never code run, never memory or time without end.

Seeded: a failing case is found again by its number.
"""

import io
import json
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import zipfile

import pytest
import torch

from inference.errors import PersonaplexError, VoicePromptError
from inference.loading.checkpoint import (
    BUILT_IN,
    CheckpointError,
    check_folder,
    load_model,
)
from inference.network.config import TINY, ConfigError
from inference.prompts.tokenizer import Tokenizer
from inference.prompts.voice_file import read_voice
from tests.inference.models import (
    CODEC,
    LM,
    published_config,
    toy_files,
    voice,
    write_files,
)

CASES = {"voices": 300, "headers": 250, "configurations": 250, "tokenizers": 200}
MEMORY_BYTES = 1_500_000_000  # that a case may add
HUGE = (0, -1, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30, 10**400)


def test_there_are_a_thousand():
    assert sum(CASES.values()) == 1000


@pytest.fixture(autouse=True)
def little_memory():
    """What allocates without end fails here instead of taking the machine down."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def changed(data, chance):
    """Truncated, flipped, spliced, grown or with numbers at their limits."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        # Headers are where it hurts: half of the changes hit the beginning or end.
        size = len(data) or 1
        near = chance.choice((64, 1024, size))
        at = chance.randrange(min(near, size))
        at = size - 1 - at if chance.random() < 0.2 else at
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([(data[at] if data else 0) ^ 1])
            case 2:
                del data[at : at + chance.randrange(1, 64)]
            case 3:
                other = chance.randrange(size)
                data[at:at] = data[other : other + chance.randrange(64)]
            case 4:
                width = chance.choice(["<I", "<Q", ">I", ">Q"])
                number = chance.choice(HUGE) % 2 ** (32 if width[1] == "I" else 64)
                data[at : at + struct.calcsize(width)] = struct.pack(width, number)
            case 5:
                del data[at + chance.randrange(size) :]
    return bytes(data)


def clear(error):
    assert error.text and str(error)
    assert len(str(error)) < 20_000


# Voices


class Evil:
    """Everything that would be noticed."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def evil_pickles(mark):
    yield pickle.dumps(Evil(mark))
    yield b"cos\nsystem\n(S'touch %s'\ntR." % str(mark).encode()
    yield b'cbuiltins\neval\n(S\'open("%s", "w")\'\ntR.' % str(mark).encode()
    yield b"ctorch._utils\n_rebuild_tensor_v2\n(tR."
    yield b"ctorch\nload\n(S'/etc/passwd'\ntR."
    yield b"cpathlib\nPosixPath\n(S'/etc'\ntR."
    yield b"\x80\x02X\x01"  # a string without its length
    yield b"(" * 100_000 + b"."
    yield b"\x80\x02" + b"]" + b"]a" * 20_000 + b"."


def with_pickle(data, pickled):
    """A .pt whose data.pkl is another one."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            inner = old.read(entry)
            is_pickle = entry.filename.endswith("data.pkl")
            new.writestr(entry.filename, pickled(inner) if is_pickle else inner)
    return out.getvalue()


def test_voices(tmp_path):
    mark, good, config = tmp_path / "ran", voice(1), published_config()
    chance, refused = random.Random(11), 0
    evil = list(evil_pickles(mark))
    for case in range(CASES["voices"]):
        match case % 3:
            case 0:
                data = changed(good, chance)
            case 1:
                data = with_pickle(good, lambda inner: changed(inner, chance))
            case 2:
                bad = evil[case // 3 % len(evil)]
                data = with_pickle(good, lambda inner, bad=bad: bad)
        try:
            read_voice(data, config)
        except VoicePromptError as error:
            clear(error)
            refused += 1
        assert not mark.exists(), case
    assert refused > 0.8 * CASES["voices"]


# Safetensors


def changed_header(data, chance):
    """The JSON header changed by meaning, its length right again."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    for _ in range(chance.choice((1, 2, 5))):
        name = chance.choice(names)
        tensor = header.setdefault(name, {})
        match chance.randrange(8):
            case 0:
                header.pop(name)
            case 1:
                header["new\u0000" + name] = dict(tensor)
            case 2:
                tensor["dtype"] = chance.choice(
                    ["F64", "I64", "U8", "F8_E4M3", "BOOL", "X", "", None, 3, "C64"]
                )
            case 3:
                tensor["shape"] = chance.choice(
                    [[], [0], [-1], [2**63], [2**32, 2**32], [10**30], None, "x", [1.5]]
                )
            case 4:
                tensor["data_offsets"] = chance.choice(
                    [[0, 0], [0, 2**64 - 1], [-1, 5], [9, 3], [0], None, [2**70, 1]]
                )
            case 5:
                tensor["extra"] = chance.choice(HUGE)
            case 6:
                header[name] = chance.choice([None, [], 3, "x"])
                names.remove(name)
            case 7:
                tensor["shape"] = [*reversed(tensor.get("shape") or []), 1]
        if not names:
            break
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def test_headers(tmp_path):
    files, chance, refused = toy_files(), random.Random(12), 0
    folder = write_files(tmp_path)
    for case in range(CASES["headers"]):
        name = (LM, CODEC)[case % 2]
        data = files[name]
        change = changed if case % 4 < 2 else changed_header
        (folder / name).write_bytes(change(data, chance))
        try:
            check_folder(folder)
        except CheckpointError as error:
            clear(error)
            refused += 1
        (folder / name).write_bytes(data)
    assert refused > 0.8 * CASES["headers"]


# Configurations


def changed_fields(fields, chance):
    """One value of the tree, somewhere, changed."""
    parent = fields
    while True:
        if not parent:
            return
        key = chance.choice(list(parent))
        if not isinstance(parent[key], dict) or chance.random() < 0.1:
            break
        parent = parent[key]
    match chance.randrange(5):
        case 0:
            del parent[key]
        case 1:
            parent[key + "x"] = 1
        case 2:
            parent[key] = chance.choice(
                [None, True, "x", "../x", "/etc/passwd", [], {}, 1.5, [1] * 9, "\ud800"]
            )
        case _:
            parent[key] = chance.choice((*HUGE, 3, 7, 1000, 65_536, 1e308, 1e-9))


def test_configurations(tmp_path):
    good, chance = toy_files()["config.json"], random.Random(13)
    folder, refused = write_files(tmp_path), 0
    for case in range(CASES["configurations"]):
        if case % 3:
            fields = json.loads(good)
            for _ in range(chance.choice((1, 1, 3))):
                changed_fields(fields, chance)
            data = json.dumps(fields).encode()
        else:
            data = changed(good, chance)
        if case % 25 == 0:
            data = b"[" * 100_000 if case % 2 else b"9" * 100_000
        (folder / "config.json").write_bytes(data)
        try:
            load_model(folder)
        except CheckpointError as error:
            clear(error)
            refused += 1
    assert refused > 0.7 * CASES["configurations"]


# Tokenizers


def test_tokenizers(tmp_path):
    """In a process of its own: SentencePiece is C++, and a crash there ends all."""
    path = tmp_path / "cases"
    words = [sys.executable, "-c", "from tests.inference import test_fuzz_files as f;"
             f"f.tokenizer_cases({str(path)!r})"]  # fmt: skip
    ended = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert path.read_text() == "done"


def tokenizer_cases(path):
    good = (BUILT_IN / TINY.name / TINY.tokenizer).read_bytes()
    chance, refused = random.Random(14), 0
    for case in range(CASES["tokenizers"]):
        with open(path, "wb") as file:
            file.write(changed(good, chance))
        from pathlib import Path

        try:
            tokenizer = Tokenizer(Path(path), TINY.text_cardinality)
            used = tokenizer.encode("Hello, who are you? ÄÖ 你好")
            assert all(0 <= token < TINY.text_cardinality for token in used), case
            for token in range(TINY.text_cardinality):
                tokenizer.is_spoken(token)
                tokenizer.byte(token)
                tokenizer.piece(token)
        except (ConfigError, PersonaplexError):
            refused += 1
    assert refused > 0.3 * CASES["tokenizers"]
    with open(path, "w") as file:
        file.write("done")


def test_a_loaded_tensor_is_never_of_another_shape(tmp_path):
    """The header is checked, and then what is read from the file once more."""
    folder = write_files(tmp_path)
    lm = load_model(folder).lm
    assert all(torch.isfinite(p.float()).all() for p in lm.parameters())
