"""Every program that a model's products may ask of a card, without one."""

import functools

from inference.kernels.packed import HEADS
from inference.kernels.shapes import (
    UNIT,
    CodecMatrix,
    Matrix,
    codec_attention_program,
    codec_program,
    codec_shape,
    product_program,
    product_shape,
    unpack_program,
)
from inference.kernels.weights import BLOCK, FORMATS
from inference.network.config import PERSONAPLEX_7B, TINY, ffn_hidden
from inference.network.mimi import Mimi
from inference.network.mimi.conv import Conv, ConvTranspose
from inference.timing import CODEBOOKS

CONFIGS = (PERSONAPLEX_7B, TINY)
ROWS = (1, 8, 9, 16, 17, 32, 33, 64, 65, 128, 192)  # of x, where something changes
OUTS = (1, 2, 3, 17, 113, 481, 961, 1921)  # of a session's frame
SESSIONS = (1, 2, 3, 4, 8, 15, 16, 24, 32, 48, 64, 80, 96, 128, 160, 256)


@functools.cache
def matrices(config, format):
    """(matrix, gated) of a language model, each size once."""
    found = set()
    for part in (config.temporal, config.depth):
        hidden = ffn_hidden(part.dim)
        hidden += -hidden % BLOCK
        found |= {
            (Matrix(format, 3 * part.dim, part.dim), False),
            (Matrix(format, part.dim, part.dim), False),
            (Matrix(format, 2 * hidden, part.dim), True),
            (Matrix(format, 2 * hidden, part.dim), False),  # a prompt's
            (Matrix(format, part.dim, hidden), False),
        }
    temporal, depth, heads = config.temporal.dim, config.depth.dim, HEADS[format]
    found |= {
        (Matrix(format, CODEBOOKS * depth, temporal), False),
        (Matrix(heads, config.text_cardinality, temporal), False),
        (Matrix(heads, config.audio_cardinality, depth), False),
    }
    return sorted(found, key=repr)


@functools.cache
def codec_matrices(config):
    """Of a codec's layers, each size once."""
    import torch

    with torch.device("meta"):
        mimi = Mimi(config.mimi)
    sizes = set()
    for module in mimi.modules():
        if isinstance(module, Conv):
            width, channels, taps = module.inner.weight.shape
            sizes.add((width, channels, taps))
        elif isinstance(module, ConvTranspose):
            channels, width, taps = module.inner.weight.shape
            sizes.add((width * taps // 2, channels, 2))
    dim, books = config.mimi.dim, config.mimi.codebook_dim
    for width, columns in (
        (3 * dim, dim),
        (dim, dim),
        (config.mimi.ffn, dim),
        (dim, config.mimi.ffn),
        (2 * books, dim),
        (dim, 2 * books),
    ):
        sizes.add((width, columns, 1))
    return {
        CodecMatrix(width, taps * (n + -n % UNIT), n % UNIT == 0)
        for width, n, taps in sorted(sizes)
    }


def programs(card, configs=CONFIGS):
    """All that may be asked of ``card``, by program: where it comes from."""
    found = {}
    for config in configs:
        for format in FORMATS:
            for matrix, gated in matrices(config, format):
                for rows in ROWS:
                    shape = product_shape(matrix, rows, card)
                    program = product_program(matrix, shape, gated)
                    found.setdefault(program, f"{matrix} with {rows} rows")
            found.setdefault(unpack_program(format), format)
        for matrix in codec_matrices(config):
            for sessions in SESSIONS:
                for outs in OUTS:
                    rows = sessions * outs
                    shape = codec_shape(matrix, rows, card)
                    program = codec_program(matrix, shape, card)
                    found.setdefault(program, f"{matrix} with {rows} rows")
        size = config.mimi.head_dim
        found.setdefault(codec_attention_program(size), config.name)
    return found
