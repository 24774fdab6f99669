"""What a GPU can hold and how fast, from its bandwidth, memory and launch cost.

Predicts a tick's time (docs/performance.md says how well). Works with numbers only and
must not need a device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from inference import cards
from inference.cards import CardSpec
from inference.kernels.ring import PAGE
from inference.network.config import ModelConfig, ffn_hidden
from inference.network.mimi import Mimi
from inference.timing import CODEBOOKS, FRAME_RATE, STREAMS

PAIRS = (("bf16", "bf16"), ("int8", "int8"), ("fp8", "int8"), ("int4", "int8"))
# What is tried if no format is given, the most exact first; fp8 needs GPUs of 2022 on.
PREFERRED = (("bf16", "bf16"), ("int8", "bf16"), ("int8", "int8"), ("int4", "int8"))
BITS = {"bf16": 16.0, "int8": 8.0, "fp8": 8.0, "int4": 4.25}
HEAD_BITS = {"bf16": 16.0, "int8": 8.0, "fp8": 8.0, "int4": 8.0}

SHARE = 0.9  # of the memory's read rate that a tick reaches
KV_SHARE = {"bf16": 1.0, "int8": 0.88}  # and of that, attention
PUBLISHED = 0.8  # of a published bandwidth that can be read at: 0.93 on an H100
LAUNCHES = 2100  # launch costs of a tick, beside its bytes: 2.6 ms on an H100
# Of a session, beside its bytes: 0.03 ms on an H100, as bytes of its read rate.
SESSION_BYTES = 9e7
TOGETHER = 64  # sessions whose products read the weights once
MORE = 1.5  # times as long for each further TOGETHER
SAFE_MS = 60.0  # of a frame's 80: what a tick may take
RESERVE_GB = 1.6  # context, graphs and work space
MINUTE = int(60 * FRAME_RATE) + 105  # frames of a call of a minute with its prompt


@dataclass(frozen=True)
class Card:
    name: str
    bandwidth: float  # bytes a second, as published; or measured
    memory: float  # bytes
    launch_us: float = 1.5
    share: float = 1.0  # of the bandwidth that can be read at

    @property
    def rate(self) -> float:
        """Bytes a millisecond that a tick reads at."""
        return SHARE * self.share * self.bandwidth / 1e3


def published(card: CardSpec) -> Card:
    return Card(card.name, card.bandwidth, card.memory, share=PUBLISHED)


CARDS = tuple(published(card) for card in cards.CARDS)


@dataclass(frozen=True)
class Fit:
    weights: str
    kv: str
    frame_ms: float  # one session, window full
    real_time: bool
    full_window: int  # sessions that fit, windows full
    minute: int  # sessions of a minute each: memory follows their length
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

    def host_memory(self, bytes_each: int) -> float:
        """What the plain engine holds on a CPU, with so many bytes for a weight."""
        return bytes_each * (self.body + self.heads + self.embeddings / 2) + self.codec

    def kv(self, format: str) -> float:
        """Of one frame of one session."""
        t = self.config.temporal
        values = 2 * t.layers * t.dim
        return 2.0 * values if format == "bf16" else values + 4.0 * t.layers * t.heads


def tick_ms(
    sizes: Sizes, card: Card, weights: str, kv: str, sessions: int, window: int
) -> float:
    passes = 1 + MORE * max(math.ceil(sessions / TOGETHER) - 1, 0)
    of_one = window * sizes.kv(kv) / KV_SHARE[kv] + sizes.codec_state + SESSION_BYTES
    read = passes * (sizes.weights(weights) + sizes.codec) + sessions * of_one
    return LAUNCHES * card.launch_us / 1e3 + read / card.rate


def fit(sizes: Sizes, card: Card, weights: str, kv: str) -> Fit:
    context = sizes.config.temporal.context
    shared = sizes.weights(weights) + sizes.codec
    resident = shared + sizes.embeddings + RESERVE_GB * 1e9
    session = context * sizes.kv(kv) + sizes.codec_state

    def late(sessions: int, window: int) -> bool:
        return tick_ms(sizes, card, weights, kv, sessions, window) > SAFE_MS

    def most(window: int) -> int:
        """That keep real time and fit, all of this length."""
        pages = math.ceil(window / PAGE) * PAGE
        size = min(pages, context) * sizes.kv(kv) + sizes.codec_state
        room = max(int((card.memory - resident) // size), 0)
        return next((n for n in range(room) if late(n + 1, window)), room)

    alone = tick_ms(sizes, card, weights, kv, 1, context)
    return Fit(
        weights=weights,
        kv=kv,
        frame_ms=alone,
        real_time=alone <= SAFE_MS and most(context) >= 1,
        full_window=most(context),
        minute=most(min(MINUTE, context)),
        memory_gb=(resident + session) / 1e9,
        bytes_gb=(shared + session) / 1e9,
    )


def missing_mb(card: Card, found: Fit) -> int:
    """For one conversation, in whole megabytes; 0 where there is room for it."""
    return max(math.ceil((found.memory_gb * 1e9 - card.memory) / 1e6), 0)


def choose(sizes: Sizes, card: Card, kv: str, slots: int) -> Fit | None:
    """The best format in which so many sessions keep real time with full windows;
    where none does, the one that serves most of them. None: it can't serve one."""
    pairs = [(w, own if kv == "bf16" else kv) for w, own in PREFERRED]
    fits = [fit(sizes, card, *pair) for pair in pairs]
    serving = [each for each in fits if each.real_time and each.full_window]
    enough = [each for each in serving if each.full_window >= slots]
    if enough:
        return enough[0]
    return max(serving, key=lambda each: each.full_window, default=None)
