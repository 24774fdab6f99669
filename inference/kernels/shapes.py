"""How the products are cut for a card: tiles, stages, shared memory, definitions.

Pure arithmetic on sizes; launches and compiles nothing, so that what any card would be
asked for is known on a machine without one. Nothing here orders a sum: how one is cut
follows from the matrix alone, so a row gives the same on every card and whatever the
other rows are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from inference.cards import CardSpec
from inference.kernels.weights import BLOCK, GROUP_ROWS

WARPS = 8
CODES = {"bf16": 0, "int8": 1, "fp8": 2, "int4": 3}
VECTORS = {"bf16": 4, "int8": 2, "fp8": 2, "int4": 1}  # 16-byte loads of a column block
MAX_TILES = 8  # of 8 rows, in one pass over the matrix
FEW_TILES = 2  # up to these, x is small beside the matrix
IN_FLIGHT = 8  # 16-byte loads of a thread in registers
# Of more tiles: blocks of columns under way in shared memory, at most and at least.
MAX_STAGES, MIN_STAGES = {4: 3, 8: 2}, 2
# Groups that a warp takes at most.
MAX_GROUPS = {"bf16": 2, "int8": 4, "fp8": 4, "int4": 2}
# Groups times tiles whose sums fit the registers as the compiler counts them for cards
# from MANY_REGISTERS on; older ones have room for 32.
MAX_SUMS, MANY_REGISTERS = 16, (10, 0)
BUSY = 0.97  # blocks for each multiprocessor that keep a card busy: 128 for 132

Definitions = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Program:
    """What is compiled and asked of the driver: a source with its definitions."""

    source: str
    name: str
    definitions: Definitions
    shared: int  # bytes that the launch asks for, beside the source's own


@dataclass(frozen=True)
class Matrix:
    """A packed matrix' sizes."""

    format: str
    rows: int
    columns: int

    @property
    def slices(self) -> int:
        """Into how many parts the columns are cut."""
        blocks = self.columns // BLOCK
        return next(parts for parts in (8, 4, 2, 1) if blocks % parts == 0)

    def block_rows(self, groups: int) -> int:
        """Of a block of 8 warps, each with so many groups of rows."""
        return WARPS // self.slices * groups * GROUP_ROWS

    def blocks(self, groups: int) -> int:
        return -(-self.rows // self.block_rows(groups))


@dataclass(frozen=True)
class ProductShape:
    tiles: int
    groups: int
    depth: int  # column blocks under way in registers,
    stages: int  # or in shared memory
    blocks: int = 1  # that are to share a multiprocessor, and its registers

    def shared(self, vectors: int) -> int:
        """Bytes: the sums of all warps, which take the place of the stages."""
        columns = 8 * self.tiles
        sums = 4 * columns * (GROUP_ROWS * self.groups + 8)
        stages = self.stages * (self.groups * vectors * 512 + columns * 128)
        return WARPS * max(sums, stages)


def product_shape(matrix: Matrix, count: int, card: CardSpec) -> ProductShape:
    """For so many rows of x: as many tiles as these fill, then as many groups, then as
    many stages as the card's shared memory has room for."""
    tiles, vectors = 1, VECTORS[matrix.format]
    while 8 * tiles < count and tiles < MAX_TILES:
        tiles *= 2
    if tiles > FEW_TILES:
        for shape in _staged(matrix, tiles, card):
            if shape.shared(vectors) <= card.shared_block:
                return shape
        tiles = FEW_TILES
    newer = card.capability >= MANY_REGISTERS
    spills = newer and matrix.format == "bf16" and tiles == FEW_TILES
    return ProductShape(tiles, 1, IN_FLIGHT // vectors, 0, 1 if spills else 2)


def _staged(matrix: Matrix, tiles: int, card: CardSpec) -> Iterator[ProductShape]:
    groups = MAX_GROUPS[matrix.format]
    while groups > 1 and matrix.blocks(groups) < int(BUSY * card.sms):
        groups //= 2
    most = MAX_SUMS if card.capability >= MANY_REGISTERS else 2 * MAX_SUMS
    while tiles > FEW_TILES:
        tried = min(groups, most // tiles)
        while tried:
            for stages in range(MAX_STAGES[tiles], MIN_STAGES - 1, -1):
                yield ProductShape(tiles, tried, 0, stages)
            tried //= 2
        tiles //= 2


def product_program(matrix: Matrix, shape: ProductShape, gated: bool) -> Program:
    definitions = (
        ("NT", shape.tiles),
        ("R", shape.groups),
        ("DEPTH", shape.depth),
        ("STAGES", shape.stages),
        ("FORMAT", CODES[matrix.format]),
        ("SLICES", matrix.slices),
        ("GATED", int(gated)),
        ("BLOCKS", shape.blocks),
    )
    shared = shape.shared(VECTORS[matrix.format])
    return Program("skinny.cu", "skinny", definitions, shared)


def unpack_program(format: str) -> Program:
    return Program("unpack.cu", "unpack", (("FORMAT", CODES[format]),), 0)


# The codec's products.

UNIT = 16  # columns that a warp takes at a time
CODEC_BUSY = 1.52  # blocks for each multiprocessor: 200 for 132
# Groups of 16 outputs and tiles of 8 rows that a warp takes, the largest first; and
# units under way at most.
CODEC_SHAPES = {(2, 4): 3, (1, 4): 4, (1, 2): 6, (1, 1): 8}
MIN_CODEC_STAGES = 3
SM_RESERVE = 1024  # bytes of each block that the driver keeps


@dataclass(frozen=True)
class CodecMatrix:
    """[width, columns] of a layer, columns in whole units."""

    width: int
    columns: int
    whole: bool  # channels come in whole units

    @property
    def parts(self) -> int:
        """How a sum is cut."""
        units = self.columns // UNIT
        return 8 if units >= 32 else 4 if units >= 12 else 2 if units >= 4 else 1


@dataclass(frozen=True)
class CodecShape:
    """Of a product: what a warp takes, and how many warps share the columns."""

    groups: int
    tiles: int
    slices: int
    parts: int

    def grid(self, width: int, rows: int) -> tuple[int, int]:
        of_block = WARPS // self.slices * 8 * self.tiles
        return -(-width // (16 * self.groups)), -(-rows // of_block)

    @property
    def stage(self) -> int:
        """Bytes of a unit under way, for all warps."""
        return WARPS * 512 * (2 * self.groups + self.tiles)

    @property
    def sums(self) -> int:
        return WARPS * 4 * 8 * self.tiles * (16 * self.groups + 8)

    @property
    def own(self) -> int:
        """Bytes of shared memory that the source takes for itself, for the norms."""
        return WARPS // self.slices * 8 * self.tiles * 8


def codec_shape(matrix: CodecMatrix, rows: int, card: CardSpec) -> CodecShape:
    parts = matrix.parts
    largest, *_ = shapes = [CodecShape(*shape, parts, parts) for shape in CODEC_SHAPES]
    busy = int(CODEC_BUSY * card.sms)
    for shape in (replace(largest, slices=1), *shapes):
        blocks, of_rows = shape.grid(matrix.width, rows)
        if blocks * of_rows >= busy:
            return shape
    return shapes[-1]


def codec_stages(shape: CodecShape, card: CardSpec) -> int:
    """As many as let two blocks share a multiprocessor where that leaves enough to
    hide the memory's latency; else as one block has room for."""
    most = CODEC_SHAPES[shape.groups, shape.tiles]
    for room in (card.shared_sm // 2 - SM_RESERVE, card.shared_block):
        stages = min((room - shape.own) // shape.stage, most)
        if stages >= MIN_CODEC_STAGES:
            return stages
    return max(stages, 1)


def codec_program(matrix: CodecMatrix, shape: CodecShape, card: CardSpec) -> Program:
    stages = codec_stages(shape, card)
    shared = max(stages * shape.stage, shape.sums)
    together = 2 * (shared + shape.own + SM_RESERVE) <= card.shared_sm
    if card.capability >= MANY_REGISTERS and shape.slices < shape.parts:
        together = together and shape.groups * shape.tiles < 8
    definitions = (
        ("R", shape.groups),
        ("NT", shape.tiles),
        ("STAGES", stages),
        ("PARTS", shape.parts),
        ("SLICES", shape.slices),
        ("WHOLE", int(matrix.whole)),
        ("BLOCKS", 2 if together else 1),
    )
    return Program("codec.cu", "product", definitions, shared)


def codec_attention_program(size: int) -> Program:
    return Program("codec_attention.cu", "attend", (("D", size),), 0)
