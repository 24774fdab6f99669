"""Whole sessions of the fast engine at 7B shapes: rebuilt from a log, in company; and
what a persona prompt takes, stepped, fed at once, and from the cache."""

import time
from statistics import median

import numpy as np
import torch

from inference.engine.api import FrameLog, Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.engine.gpu.engine import GpuEngine, without_weights
from inference.loading.checkpoint import Model
from inference.loading.filler_codes import find_filler_codes
from inference.prompts.prompt_text import SPACER_FRAMES
from tests.inference.engine.sessions import opened, speech
from tests.inference.parity.side_by_side import OWN, Plain, plain_lm

FRAMES = 60  # until a session is rebuilt
AFTER = 40  # that both then continue for


class Words:
    """In the tokenizer's place, at any number of pieces: one word, one token."""

    def encode(self, text):
        return [4 + n % 90 for n, _ in enumerate(text.split())]

    def is_spoken(self, token):
        return False

    def byte(self, token):
        return None

    def piece(self, token):
        return ""


def model_with(rig, lm):
    filler = find_filler_codes(rig.config, rig.mimi)
    return Model(rig.config, lm, rig.mimi, Words(), filler, "random", False)


def engine(rig, weights, kv, slots=2):
    packed = rig.packed(weights)
    model = without_weights(model_with(rig, None), packed)
    return GpuEngine(model, packed, slots, ops=rig.ops(), kv=kv)


def role_of(rows):
    """A role prompt that makes a persona prompt of so many rows to feed: the prompt's
    last frame is not fed, and marks stand around the words."""
    words = rows + 1 - 2 * SPACER_FRAMES
    return " ".join(["<system>", *["word"] * (words - 2), "<system>"])


def sessions(rig, found):
    """Greedy, with sound, through the engine's own open, prime and step."""
    frames, after = (FRAMES, AFTER) if rig.on_gpu else (8, 6)
    for weights, kv in (("bf16", "bf16"), ("int8", "int8")):
        rig.free()
        made = engine(rig, weights, kv)
        config = SessionConfig(
            "a", role_of(rig.prompt_rows), sampling=Sampling(greedy=True)
        )
        sound, other = speech(1, frames), speech(2, frames)
        slot = opened(made, config)
        alone = [made.step({slot: frame})[slot] for frame in sound]
        kept = state_of(made, slot)
        log = FrameLog(np.stack([step.tokens for step in alone]), sound)
        again = opened(
            made,
            SessionConfig("b", config.role_prompt, sampling=config.sampling, log=log),
        )
        name = f"{weights}/{kv}"
        found[name] = {"rebuilt": difference(kept, state_of(made, again))}
        both = []
        for frame in speech(3, after):
            steps = made.step({slot: frame, again: frame})
            both.append((steps[slot].tokens, steps[again].tokens))
        one, two = (np.stack(each) for each in zip(*both, strict=True))
        heard = int((one[:, OWN:] != two[:, OWN:]).sum())
        same = first_differing(one, two)
        found[name]["rebuilt"] |= {"frames": same, "of": after, "heard_differ": heard}
        rig.row(
            "R",
            f"{name}: rebuilt from {frames} frames",
            "running session",
            found[name]["rebuilt"],
        )
        made.close(slot)
        made.close(again)
        company = opened(made, SessionConfig("c", "Else.", sampling=Sampling(seed=3)))
        slot = opened(made, config)
        together = [
            made.step({company: theirs, slot: frame})[slot]
            for theirs, frame in zip(other, sound, strict=True)
        ]
        one, two = (np.stack([s.tokens for s in steps]) for steps in (alone, together))
        found[name]["company"] = {
            "values": one.size,
            "differ": int((one != two).sum()),
            "frames": first_differing(one, two),
        }
        rig.row(
            "8",
            f"{name}: alone or beside another, {frames} frames",
            "ours",
            found[name]["company"],
        )
        assert made.prompt_stats().hits >= 1
        del made


def first_differing(one, two):
    wrong = (one != two).any(axis=1).nonzero()[0]
    return int(wrong[0]) if len(wrong) else len(one)


def state_of(made, slot):
    """Copies, by name: what is compared bit for bit, and what is not."""
    (batch,) = made._batches
    lm = batch.lm
    exact = [t[slot].clone() for t in (lm.position, lm.row, lm.carry, lm.ring.pinned)]
    count = int(lm.position[slot])
    rings = [
        lm.ring.read(layer, slice(slot, slot + 1), min(count, lm.ring.context)).clone()
        for layer in range(len(lm.ring.layers))
    ]
    states = batch._encoder, batch._decoder
    exact += [state.position[slot].clone() for state in states]
    codec = [state.buffer[slot].clone() for state in states]
    return exact, rings, codec


def difference(was, now):
    exact = sum(int((a != b).sum()) for a, b in zip(was[0], now[0], strict=True))

    def relative(one, two):
        return max(
            ((a.float() - b.float()).norm() / a.float().norm()).item()
            for a, b in zip(one, two, strict=True)
        )

    return {
        "differ": exact,
        "kv_relative_most": relative(was[1], now[1]),
        "codec_relative_most": relative(was[2], now[2]),
    }


def timed(rig, work, times):
    took = []
    for _ in range(times):
        if rig.on_gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if rig.on_gpu:
            torch.cuda.synchronize()
        took.append(1000 * (time.perf_counter() - began))
    return round(median(took), 2)


def prompt_times(rig, found):
    """Milliseconds of 362 rows, to be run while nothing else does."""
    lm = plain_lm(rig.config, rig.fetch, rig.device)
    found["plain, stepped"] = stepped_ms(rig, lm)
    plain = Engine(model_with(rig, lm), 1)
    found |= {f"plain, {k}": ms for k, ms in engine_times(rig, plain).items()}
    del plain, lm
    for weights, kv in (("bf16", "bf16"), ("int8", "int8"), ("int4", "int8")):
        rig.free()
        made = engine(rig, weights, kv)
        times = engine_times(rig, made).items()
        found |= {f"{weights}/{kv}, {k}": ms for k, ms in times}
        del made
    for name, ms in found.items():
        rig.row("T", f"{rig.prompt_rows} rows: {name}", "", {"ms": ms})


def stepped_ms(rig, lm):
    """As upstream feeds it: of every row the temporal and the depth steps."""
    way = Plain(lm)

    def feed(rows):
        for row in rows:
            way.step(row, row[:OWN])

    feed(rig.fed[:5])
    return timed(rig, lambda: feed(rig.fed), 1)


def engine_times(rig, made):
    """By open, prime and close: cold, cached; and a tick of one session."""
    config = SessionConfig("a", role_of(rig.prompt_rows), sampling=Sampling(seed=1))

    def begin():
        made.close(opened(made, config))

    def cold():
        made._prompts.clear()
        begin()

    cold()  # kernels are compiled, memory is taken
    slot = opened(made, config)
    assert made.prompt_frames(slot) == rig.prompt_rows + 1, made.prompt_frames(slot)
    silence = speech(1, 1)[0]
    for _ in range(5):
        made.step({slot: silence})
    tick = timed(rig, lambda: made.step({slot: silence}), 30)
    made.close(slot)
    return {"cold": timed(rig, cold, 5), "cached": timed(rig, begin, 9), "tick": tick}
