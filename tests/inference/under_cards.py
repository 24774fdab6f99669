"""The GPU's tests and figures as other cards would take their decisions.

    python3 -m tests.inference.under_cards --out figures
    python3 -m tests.inference.under_cards --out figures --cards "A100,RTX 4090"

For each pretended card, and for this one as it is: the tests marked ``gpu`` (all cards
at once), what a short conversation at 7B widths says (``said``; equal lines are equal
tokens), and ``bench`` of the cases in ``CASES`` with a prompt of 48 rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from inference.cards import PRETEND
from tests.inference.everything_on_gpu import BENCH, PARTS
from tests.parts import run_parts, say

CARDS = (
    "A100",
    "RTX 3060 12 GB",
    "RTX 4060 8 GB",
    "RTX 4090",
    "L4",
    "GB10",
    "RTX PRO 6000",
)
CASES = "int4/int8:1,int8/int8:4"
FORMATS = (("bf16", "bf16"), ("int8", "int8"), ("fp8", "bf16"), ("int4", "int8"))
PROMPTS = (17, 48, 64, 150)  # rows
SESSIONS, FRAMES = 20, 30
# It writes 16 GB for each card, and no decision of one.
WITHOUT = ["--deselect=tests/inference/loading/test_memory.py"]
KINDS = ("tests", "said", "table")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--cards", default=",".join(("", *CARDS)))
    parser.add_argument("--only", default=",".join(KINDS), help=", ".join(KINDS))
    parser.add_argument("--say", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.say:
        return conversation()
    cards, kinds = given.cards.split(","), given.only.split(",")
    failed = 0
    if "tests" in kinds:
        failed |= tests_at_once(cards, given.out)
    for card in cards:
        parts = {}
        if "said" in kinds:
            parts[f"{label(card)}_said"] = [
                "-m",
                "tests.inference.under_cards",
                "--say",
            ]
        if "table" in kinds:
            words = [*BENCH, "--pairs", CASES, "--prompt", "48"]
            parts[f"{label(card)}_table"] = words
        if parts:
            failed |= run_parts(parts, given.out, os.environ | {PRETEND: card})
    return failed


def label(card: str) -> str:
    return card.lower().replace(" ", "_") or "itself"


def tests_at_once(cards: list[str], folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    begun, running = time.monotonic(), {}
    for card in cards:
        with (folder / f"{label(card)}_tests.txt").open("w") as said:
            running[card] = subprocess.Popen(
                [sys.executable, "-u", *PARTS["tests"], *WITHOUT],
                env=os.environ | {PRETEND: card},
                stdout=said,
                stderr=subprocess.STDOUT,
            )
    failed = 0
    for card, process in running.items():
        failed |= process.wait()
        lines = (folder / f"{label(card)}_tests.txt").read_text().splitlines()
        say(f"{label(card)} after {time.monotonic() - begun:.0f} s: {lines[-1]}")
        for line in lines:
            if line.startswith(("FAILED", "ERROR")):
                say(f"    {line[:200]}")
    return int(bool(failed))


def conversation() -> int:
    import torch

    from inference.bench.ticks import SEED
    from inference.engine.gpu.batch import CudaSlotBatch
    from inference.engine.prefill import PREFILL_CHUNK_GPU
    from inference.kernels import fast
    from inference.kernels.packed import pack_model, random_weights
    from inference.network.config import PERSONAPLEX_7B
    from inference.network.mimi import Mimi, fp32_convolutions

    device = torch.device("cuda:0")
    fp32_convolutions()
    config = dataclasses.replace(
        PERSONAPLEX_7B,
        temporal=dataclasses.replace(PERSONAPLEX_7B.temporal, layers=4),
        depth=dataclasses.replace(PERSONAPLEX_7B.depth, layers=2),
    )
    mimi = Mimi(config.mimi)
    mimi.init_weights(torch.Generator().manual_seed(SEED))
    mimi.to(device).eval().requires_grad_(False)
    parts(mimi, device)
    for weights, kv in FORMATS:
        fetch = random_weights(device, SEED)
        model = pack_model(config, weights, fetch, device)
        with torch.inference_mode():
            batch = CudaSlotBatch(model, mimi, SESSIONS, kv, fast)
            batch.capture([SESSIONS])
            for row in range(SESSIONS):
                begin(batch, row, PROMPTS[row % len(PROMPTS)], PREFILL_CHUNK_GPU)
            say(f"{weights}/{kv} {talk(batch)}")
        del batch, model
        torch.cuda.empty_cache()
    return 0


def parts(mimi, device):
    """Of single kernels, on the same random inputs."""
    import torch

    from inference.kernels import fast
    from inference.kernels.weights import FORMATS as ALL
    from inference.kernels.weights import pack

    generator = torch.Generator(device).manual_seed(SESSIONS)

    def drawn(*shape):
        drawn = torch.randn(shape, generator=generator, device=device)
        return drawn.bfloat16()

    with torch.inference_mode():
        for format in ALL:
            weight, x = pack(drawn(12_288, 4096) / 64, format), drawn(192, 4096)
            of = [fast.linear(x[:n], weight) for n in (1, 9, 20, 33, 64, 192)]
            say(f"products in {format}: {digest(*of)}")
        states = mimi.encoder_state(8), mimi.decoder_state(8)
        codec, active = fast.codec(mimi), torch.ones(8, device=device).bool()
        codes = torch.zeros(8, 8, dtype=torch.int64, device=device)
        sound = (drawn(8, 1920) * 3000).short()
        heard = []
        for _ in range(5):
            codec.encode(sound, states[0], active, codes)
            codec.decode(codes, states[1], active, sound)
            heard += [codes.clone(), sound.clone()]
        say(f"codec: {digest(*heard)}")


def digest(*tensors):
    hashed = hashlib.sha256()
    for tensor in tensors:
        hashed.update(tensor.float().cpu().numpy().tobytes())
    return hashed.hexdigest()[:12]


def begin(batch, row, rows, chunk):
    import torch

    from inference.engine.api import Sampling
    from inference.network.config import FREE
    from inference.prompts.persona import PersonaPrompt

    batch.begin(row, Sampling(greedy=row % 2 == 0, seed=row))
    cards = batch.packed.config.audio_cardinality
    generator = torch.Generator().manual_seed(row)
    tokens = torch.randint(0, cards, (rows + 1, 17), generator=generator)
    embeddings = batch.lm.embed(tokens[:-1].to(batch.device))
    free = torch.full((17,), FREE)
    prompt = PersonaPrompt("", embeddings, tokens[:0], tokens[-1], free)
    fed = 0
    while fed < rows:
        fed = batch.feed(row, prompt, fed, chunk)
    batch.lead(row)


def talk(batch):
    import numpy as np

    generator = np.random.default_rng(1)
    after, tokens, sound = [], hashlib.sha256(), hashlib.sha256()
    for frame in range(FRAMES):
        pcm = generator.normal(0, 1800, (SESSIONS, 1920)).astype(np.int16)
        record, _, spoken = batch.step(dict(enumerate(pcm)))
        tokens.update(record.tobytes())
        sound.update(spoken.tobytes())
        if frame in (0, 3):
            after.append(tokens.hexdigest()[:8])
    return (
        f"tokens of frame 0 {after[0]}, to 3 {after[1]}, of all "
        f"{tokens.hexdigest()[:16]}, sound {sound.hexdigest()[:16]}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
