"""How products are cut for every card that is known, without one."""

import pytest

from inference.cards import CARDS, named
from inference.kernels.shapes import (
    CODEC_SHAPES,
    WARPS,
    CodecMatrix,
    CodecShape,
    Matrix,
    ProductShape,
    codec_shape,
    codec_stages,
    product_shape,
)
from inference.kernels.weights import FORMATS
from inference.network.config import PERSONAPLEX_7B
from tests.inference.kernels.sizes import ROWS, matrices, programs

OWN = {"codec.cu": 2048, "codec_attention.cu": 12_000}  # static, at most
STAGES, GROUPS = {4: 3, 8: 2}, {"bf16": 2, "int8": 4, "fp8": 4, "int4": 2}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_no_program_asks_for_more_shared_memory_than_the_card_has(card):
    found = programs(card)
    assert len(found) > 50
    for program, asker in found.items():
        needed = program.shared + OWN.get(program.source, 0)
        assert needed <= card.shared_block, (program, asker)


@pytest.mark.parametrize("name", ["H100", "H200"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_hopper_is_asked_for_what_was_measured_on_it(name, format):
    """docs/performance.md's figures are of these shapes."""
    card = named(name)
    for matrix, _ in matrices(PERSONAPLEX_7B, format):
        for rows in ROWS:
            shape = product_shape(matrix, rows, card)
            tiles = next((t for t in (1, 2, 4) if 8 * t >= rows), 8)
            assert shape.tiles == tiles
            if tiles > 2:
                groups = GROUPS[matrix.format]
                while groups > 1 and matrix.blocks(groups) < 128:
                    groups //= 2
                assert shape == ProductShape(tiles, groups, 0, STAGES[tiles])
    for (groups, tiles), stages in CODEC_SHAPES.items():
        for parts in (1, 2, 4, 8):
            for slices in {1, parts}:
                shape = CodecShape(groups, tiles, slices, parts)
                assert codec_stages(shape, card) == stages
    wide = CodecMatrix(1024, 64, True)  # 32 blocks of the largest shape a tile
    assert codec_shape(wide, 7 * 256, card).slices == 1  # 224 blocks
    assert codec_shape(wide, 6 * 256, card).slices == wide.parts  # 192 of 200


@pytest.mark.parametrize(
    ("name", "format", "rows", "expected"),
    [
        ("A100", "int8", 64, ProductShape(8, 2, 0, 2)),
        ("A100", "bf16", 64, ProductShape(8, 1, 0, 2)),
        ("A100", "int8", 32, ProductShape(4, 4, 0, 2)),
        ("RTX 4090", "int8", 64, ProductShape(4, 2, 0, 2)),
        ("RTX 4090", "bf16", 32, ProductShape(4, 1, 0, 2)),
        ("RTX 4090", "int4", 20, ProductShape(4, 2, 0, 2)),
        ("RTX 4090", "int4", 16, ProductShape(2, 1, 8, 0, 2)),
        ("RTX 5090", "bf16", 16, ProductShape(2, 1, 2, 0, 1)),
        ("B200", "int8", 64, ProductShape(8, 2, 0, 2)),
    ],
)
def test_smaller_cards_get_fewer_tiles_groups_and_stages(name, format, rows, expected):
    matrix = Matrix(format, 12_288, 4096)
    assert product_shape(matrix, rows, named(name)) == expected


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_how_a_sum_is_cut_is_the_matrix_own_affair(card):
    """Whatever the card and the number of rows: slices and parts stay."""
    for program in programs(card):
        given = dict(program.definitions)
        if program.source == "skinny.cu":
            assert given["SLICES"] in (1, 2, 4, 8)
            assert (given["STAGES"] > 1) != (given["DEPTH"] > 1)
        if program.source == "codec.cu":
            assert given["SLICES"] in (1, given["PARTS"])
            assert given["SLICES"] <= WARPS
