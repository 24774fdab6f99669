"""The speech corpus: every utterance that exists, as one array with an index.

Defines its forms on disk: shards that synthesisers write while others already read,
and the Opus archive that keeps it small between runs. Must not depend on dialogues.
"""

from __future__ import annotations

import gzip
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE

ARCHIVE_LEVEL = 0.962  # of libsndfile for Opus: about 16 kbit/s
ARCHIVE_SECONDS = 600  # sound per file inside an archive
GAP = 2400  # samples between utterances in an archive


def as_floats(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """Of the same shape, between −1 and 1."""
    return pcm.astype(np.float32) / np.float32(32768)


@dataclass
class Entry:
    """One utterance and where its sound lies in the corpus."""

    text: str
    voice: str
    side: str
    samples: int
    words: list[tuple[float, float]]
    phonemes: list[tuple[int, float, float]]
    start: int = 0

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


@dataclass
class SpeechCorpus:
    entries: list[Entry] = field(default_factory=list)
    pcm: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))

    @property
    def hours(self) -> float:
        return sum(entry.samples for entry in self.entries) / SAMPLE_RATE / 3600

    def sound(self, entry: Entry) -> NDArray[np.int16]:
        return self.pcm[entry.start : entry.start + entry.samples]

    def only(self, side: str, others: bool = False) -> SpeechCorpus:
        """The utterances of one side, or all but those, closed up."""
        kept = [replace(e) for e in self.entries if (e.side == side) != others]
        sounds = [self.sound(entry) for entry in kept]
        start = 0
        for entry in kept:
            entry.start, start = start, start + entry.samples
        return SpeechCorpus(kept, np.concatenate(sounds))

    def extended(self, entries: list[Entry], pcm: NDArray[np.int16]) -> SpeechCorpus:
        for entry in entries:
            entry.start += len(self.pcm)
        return SpeechCorpus(self.entries + entries, np.concatenate([self.pcm, pcm]))


def write_shard(
    path: Path, entries: list[Entry], sounds: list[NDArray[np.int16]]
) -> None:
    """Appears under its name only when it is complete."""
    start = 0
    for entry in entries:
        entry.start, start = start, start + entry.samples
    meta = json.dumps([asdict(entry) for entry in entries])
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, pcm=np.concatenate(sounds), meta=np.array(meta))
    partial.rename(path)


def read_shard(path: Path) -> tuple[list[Entry], NDArray[np.int16]]:
    with np.load(path) as shard:
        return _entries(str(shard["meta"])), shard["pcm"]


def _entries(meta: str) -> list[Entry]:
    return [Entry(**item) for item in json.loads(meta)]


class ShardReader:
    """Takes up shards as they appear in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[str] = set()

    def update(self, corpus: SpeechCorpus) -> SpeechCorpus:
        new = sorted(p for p in self.folder.glob("*.npz") if p.name not in self.seen)
        if not new:
            return corpus
        entries: list[Entry] = []
        parts: list[NDArray[np.int16]] = []
        start = 0
        for path in new:
            self.seen.add(path.name)
            some, pcm = read_shard(path)
            for entry in some:
                entry.start += start
            start += len(pcm)
            entries += some
            parts.append(pcm)
        return corpus.extended(entries, np.concatenate(parts))


def write_archive(corpus: SpeechCorpus, out: Path, parts: int) -> list[Path]:
    """The corpus as ``parts`` files of nearly equal size: Opus pages and the index."""
    out.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, len(corpus.entries), parts + 1).astype(int)
    files = []
    for part in range(parts):
        path = out / f"speech-{part}.bin"
        _write_part(corpus, corpus.entries[edges[part] : edges[part + 1]], path)
        files.append(path)
    return files


def _write_part(corpus: SpeechCorpus, entries: list[Entry], path: Path) -> None:
    import soundfile

    blocks: list[list[Entry]] = [[]]
    length = 0
    for entry in entries:
        if length > ARCHIVE_SECONDS * SAMPLE_RATE:
            blocks.append([])
            length = 0
        blocks[-1].append(entry)
        length += entry.samples + GAP
    meta = gzip.compress(json.dumps([[asdict(e) for e in b] for b in blocks]).encode())
    gap = np.zeros(GAP, np.int16)

    def encode(block: list[Entry]) -> bytes:
        sound = np.concatenate([p for e in block for p in (corpus.sound(e), gap)])
        encoded = io.BytesIO()
        soundfile.write(
            encoded,
            sound,
            SAMPLE_RATE,
            format="OGG",
            subtype="OPUS",
            compression_level=ARCHIVE_LEVEL,
        )
        return encoded.getvalue()

    with path.open("wb") as file, ThreadPoolExecutor(16) as pool:
        file.write(len(meta).to_bytes(8, "little") + meta)
        for encoded in pool.map(encode, blocks):
            file.write(len(encoded).to_bytes(8, "little") + encoded)


def read_archive(paths: list[Path]) -> SpeechCorpus:
    """Decoded in parallel: one process per file part would wait for the slowest."""
    entries: list[Entry] = []
    encoded: list[bytes] = []
    layout: list[list[Entry]] = []
    for path in paths:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        blocks = json.loads(gzip.decompress(data[8 : 8 + size]))
        at = 8 + size
        for block in blocks:
            layout.append([Entry(**item) for item in block])
            size = int.from_bytes(data[at : at + 8], "little")
            encoded.append(data[at + 8 : at + 8 + size])
            at += 8 + size
    with ThreadPoolExecutor(16) as pool:
        sounds = list(pool.map(_decode, encoded))
    start = 0
    for block_entries, sound in zip(layout, sounds, strict=True):
        at = start
        for entry in block_entries:
            entry.start = at
            at += entry.samples + GAP
        entries += block_entries
        start += len(sound)
    return SpeechCorpus(entries, np.concatenate(sounds))


def _decode(data: bytes) -> NDArray[np.int16]:
    import soundfile

    pcm, _ = soundfile.read(io.BytesIO(data), dtype="int16")
    sound: NDArray[np.int16] = pcm
    return sound
