"""The product's source is compiled for every GPU that could run it."""

import pytest

FORMATS = {"bf16": 0, "int8": 1, "fp8": 2, "int4": 3}


@pytest.mark.gpu
@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (12, 0)])
@pytest.mark.parametrize("format", FORMATS)
def test_it_compiles_for_older_and_newer_gpus(capability, format):
    from inference.kernels.nvrtc import compiled

    shape = {"NT": 1, "R": 1, "DEPTH": 2, "STAGES": 0}
    shape |= {"FORMAT": FORMATS[format], "SLICES": 8, "GATED": 1, "BLOCKS": 2}
    target = "sm_{}{}".format(*capability)
    code, _ = compiled("skinny.cu", tuple(shape.items()), target)
    assert code[:4] == b"\x7fELF"
