"""What every card would be asked to run fits it; compiled where no GPU is."""

import pytest

from inference.cards import CAPABILITIES, SHARED
from inference.kernels.shapes import WARPS, Program
from tests.inference.kernels.compile_matrix import (
    COMMAND,
    FIGURES,
    asked,
    compiler,
    content,
    key,
    read,
    report,
    title,
)

REGISTERS = 65_536  # of a multiprocessor, in every generation
STACK = 128  # bytes: sine and cosine of large angles keep some there
# Bytes written to memory and read again for want of registers: four of these at most;
# more in the codec's largest shape on a Hopper, where the way without was measured and
# is slower (docs/performance.md).
MAX_SPILLED, MEASURED = 32, {("codec.cu R=2 NT=4 STAGES=3", (9, 0)): 64}
SAMPLED = 14  # cells that are compiled again in each run


@pytest.fixture(scope="module")
def wanted():
    return asked()


@pytest.fixture(scope="module")
def record():
    return read()


def test_every_program_that_may_be_asked_for_was_compiled(wanted, record):
    missing, version = [], compiler()
    for capability, programs in wanted.items():
        for program in programs:
            entry = record.get(title(program), {})
            current = content(program.source, version)
            if entry.get("content") != current or key(capability) not in entry:
                missing.append(f"{title(program)} for {key(capability)}")
    assert not missing, f"{len(missing)} are not recorded: run {COMMAND}. {missing[:3]}"


def test_they_fit_the_cards_that_ask_for_them(wanted, record):
    threads = 32 * WARPS
    for capability, programs in wanted.items():
        block, _ = SHARED[capability]
        for program, shared in programs.items():
            figures = record[title(program)][key(capability)]
            found = dict(zip(FIGURES, figures, strict=True))
            where = f"{title(program)} for {key(capability)}: {found}"
            assert found["registers"] * threads <= REGISTERS, where
            allowed = MEASURED.get((shape_of(program), capability), MAX_SPILLED)
            assert found["spilled"] <= allowed, where
            assert found["stack"] <= STACK, where
            assert shared + found["shared"] <= block, where


def shape_of(program):
    return " ".join(title(program).split()[:4])


def test_what_is_recorded_is_what_the_compiler_says(wanted, record):
    cells = [(c, p) for c in CAPABILITIES for p in sorted(wanted[c], key=title)]
    for capability, program in cells[:: len(cells) // SAMPLED]:
        assert report(program, capability) == record[title(program)][key(capability)]


def test_the_compiler_refuses_in_words():
    from inference.kernels.nvrtc import CompileError, compiled

    program = Program("unpack.cu", "unpack", (("FORMAT", 1),), 0)
    with pytest.raises(CompileError, match=r"unpack.cu for sm_20: .*"):
        compiled(program.source, program.definitions, "sm_20")


def test_compiling_leaves_the_interpreters_own_bytes_alone():
    """The log of a compilation without a warning is one byte long, as are the bytes
    that all of Python shares: once a worker on a GPU answered no request any more."""
    from inference.kernels.nvrtc import compiled

    program = Program("unpack.cu", "unpack", (("FORMAT", 1),), 0)
    for target in ("sm_90", "compute_80"):
        _, said = compiled(program.source, program.definitions, target)
        assert said == ""
    assert [bytes([byte])[0] for byte in range(256)] == list(range(256))
