"""What a GPU can hold and how fast, from its bandwidth, memory and launch cost.

Owns the model of a tick's time (docs/performance.md says how well it predicts). Knows
numbers only, no tensors on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inference.network.config import ModelConfig, ffn_hidden
from inference.network.mimi import Mimi
from inference.timing import CODEBOOKS, FRAME_RATE, STREAMS

PAIRS = (("bf16", "bf16"), ("int8", "int8"), ("fp8", "int8"), ("int4", "int8"))
BITS = {"bf16": 16.0, "int8": 8.0, "fp8": 8.0, "int4": 4.25}
HEAD_BITS = {"bf16": 16.0, "int8": 8.0, "fp8": 8.0, "int4": 8.0}

SHARE = 0.7  # of the bandwidth that a tick reaches while it reads
LAUNCHES = 3000  # launch costs that a tick takes besides: 3.7 ms on an H100
SAFE_MS = 60.0  # of a frame's 80: what a tick may take
RESERVE_GB = 1.6  # context, graphs and work space
MINUTE = 60 * FRAME_RATE + 105  # frames of a call of a minute with its prompt


@dataclass(frozen=True)
class Card:
    name: str
    bandwidth: float  # bytes a second, as published; or measured
    memory: float  # bytes
    launch_us: float = 1.5


def _card(name: str, gb_s: float, gb: float) -> Card:
    return Card(name, gb_s * 1e9, gb * 1e9)


# Published bandwidth (GB/s) and memory (GB).
CARDS = (
    _card("RTX 4060 8 GB", 272, 8),
    _card("RTX 3060 12 GB", 360, 12),
    _card("RTX 4090 24 GB", 1008, 24),
    _card("L4 24 GB", 300, 24),
    _card("A10G 24 GB", 600, 24),
    _card("L40S 48 GB", 864, 48),
    _card("A100 80 GB", 2039, 80),
    _card("H100 80 GB", 3350, 80),
    _card("H200 141 GB", 4800, 141),
    _card("DGX Spark 128 GB", 273, 128),
    _card("Jetson Thor 128 GB", 273, 128),
)


@dataclass(frozen=True)
class Fit:
    weights: str
    kv: str
    frame_ms: float  # one session, window full
    real_time: bool
    full_window: int  # sessions that fit, windows full
    minute: int  # sessions in their first minute; each still takes a whole window
    memory_gb: float  # of one session, the whole process
    bytes_gb: float  # read per frame by one session


class Sizes:
    """Bytes of a model by part."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        t, d = config.temporal, config.depth
        audio, text = config.audio_cardinality, config.text_cardinality
        layer = t.dim * (4 * t.dim + 3 * ffn_hidden(t.dim))
        step = d.dim * (4 * d.dim + 3 * ffn_hidden(d.dim)) * d.layers
        self.body = t.layers * layer + CODEBOOKS * (step + d.dim * t.dim)
        self.heads = text * t.dim + CODEBOOKS * audio * d.dim
        rows = (STREAMS - 1) * (audio + 1) + text + 1
        depth_rows = (CODEBOOKS - 1) * (audio + 1) + text + 1
        self.embeddings = 2.0 * (rows * t.dim + depth_rows * d.dim)
        with torch.device("meta"):
            mimi = Mimi(config.mimi)
            states = mimi.encoder_state(1), mimi.decoder_state(1)
        self.codec = 4.0 * sum(p.numel() for p in mimi.parameters())
        self.codec_state = 4.0 * sum(state.buffer.numel() for state in states)

    def weights(self, format: str) -> float:
        return (self.body * BITS[format] + self.heads * HEAD_BITS[format]) / 8

    def kv(self, format: str) -> float:
        """Of one frame of one session."""
        t = self.config.temporal
        values = 2 * t.layers * t.dim
        return 2.0 * values if format == "bf16" else values + 4.0 * t.layers * t.heads


def fit(sizes: Sizes, card: Card, weights: str, kv: str) -> Fit:
    context = sizes.config.temporal.context
    shared = sizes.weights(weights) + sizes.codec
    resident = shared + sizes.embeddings + RESERVE_GB * 1e9
    session = context * sizes.kv(kv) + sizes.codec_state
    room = int((card.memory - resident) // session)

    def tick_ms(sessions: int, window: float) -> float:
        read = shared + sessions * (window * sizes.kv(kv) + sizes.codec_state)
        return LAUNCHES * card.launch_us / 1e3 + 1e3 * read / (SHARE * card.bandwidth)

    def most(window: float) -> int:
        spare = (SAFE_MS - tick_ms(0, window)) / 1e3 * SHARE * card.bandwidth
        timely = int(spare // (window * sizes.kv(kv) + sizes.codec_state))
        return max(min(timely, room), 0)

    alone = tick_ms(1, context)
    return Fit(
        weights=weights,
        kv=kv,
        frame_ms=alone,
        real_time=alone <= SAFE_MS and room >= 1,
        full_window=most(context),
        minute=most(min(MINUTE, context)),
        memory_gb=(resident + session) / 1e9,
        bytes_gb=(shared + session) / 1e9,
    )
