"""The parity plan on a GPU, at 7B shapes with random weights.

    python3 -m tests.inference.parity.on_gpu [--out FILE.json] [--parts a,b]

Steps 4, 5 and 7: the published model against the plain path, and that against every
fast path; then a session rebuilt from its log, the codec, prefill against stepping, and
what a prompt takes. Prints a table and a line of JSON, which --out gets after every
part. Needs requirements-parity.txt, neither pytest nor Django. ``--config small`` runs
the same on a CPU in a minute, with the plain path in the fast one's place.

NO_TORCH_COMPILE is set: the published model is compared as it is written. Compiled, it
rounds a few sums less often.
"""

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path

os.environ.setdefault("NO_TORCH_COMPILE", "1")

import torch

from tests.inference.parity import on_gpu_codec, on_gpu_engine
from tests.inference.parity.on_gpu_rig import Rig
from tests.inference.parity.side_by_side import (
    Fast,
    Plain,
    Published,
    converse,
    forced_thoughts,
    parting,
    plain_lm,
)

FORMATS = (("bf16", "bf16"), ("int8", "int8"), ("fp8", "bf16"), ("int4", "int8"))


def published_and_plain(rig, found):
    """Teacher-forced across the end of the ring, and a conversation of their own."""
    published = Published(rig.config, rig.fetch, rig.device)
    theirs = forced_thoughts(published, rig.rows, rig.before, rig.steps)
    published.restart()
    their_talk, margins = rig.talk(published)
    del published
    rig.free()
    lm = plain_lm(rig.config, rig.fetch, rig.device)
    rig.thoughts = forced_thoughts(Plain(lm), rig.rows, rig.before, rig.steps)
    rig.said = rig.talk(Plain(lm))
    found["forced"] = rig.compare("plain", rig.thoughts, theirs, "published")
    found["talk"] = parting(rig.said[0], their_talk, margins)
    rig.row("7", "plain, greedy", "published", found["talk"])


def formats(rig, found):
    """Every fast path by the captured step: against the plain functions with the same
    packed weights, and against the plain model in bf16."""
    if rig.said is None:
        lm = plain_lm(rig.config, rig.fetch, rig.device)
        rig.thoughts = forced_thoughts(Plain(lm), rig.rows, rig.before, rig.steps)
        rig.said = rig.talk(Plain(lm))
        del lm
    from inference.kernels import plain

    for weights, kv in FORMATS:
        rig.free()
        name = f"{weights}/{kv}"
        packed = rig.packed(weights)
        fast = Fast(packed, rig.mimi, kv, rig.ops(), rig.on_gpu)
        ours = forced_thoughts(fast, rig.rows, rig.before, rig.steps)
        fast.restart()
        said = rig.talk(fast)
        del fast
        rig.free()
        slow = Fast(packed, rig.mimi, kv, plain, False)
        count = rig.plain_steps
        theirs = forced_thoughts(slow, rig.rows, rig.before, count)
        slow.restart()
        frames = max(parting(said[0], rig.said[0], rig.said[1])["frames"] + 1, 30)
        slow_said = rig.talk(slow, frames)
        del slow, packed
        own = rig.compare(name, ours.first(count), theirs, "its plain path")
        talk = parting(said[0], *slow_said)
        rig.row("7", f"{name}, greedy", "its plain path", talk)
        whole = rig.compare(name, ours, rig.thoughts, "plain bf16")
        talk_whole = parting(said[0], *rig.said)
        rig.row("7", f"{name}, greedy", "plain bf16", talk_whole)
        found[name] = {"own": own, "talk": talk, "bf16": whole, "talk_bf16": talk_whole}
        rig.save()


def exact(rig, found):
    """In fp32, where the order of a sum decides little: the published model against the
    plain path. Then how far from that each way is in bf16: rounding alone does that."""
    wide, count = torch.float32, rig.plain_steps
    published = Published(rig.config, rig.fetch, rig.device, wide)
    theirs = forced_thoughts(published, rig.rows, rig.before, count)
    published.restart()
    their_talk, margins = rig.talk(published)
    del published
    rig.free()
    lm = plain_lm(rig.config, rig.fetch, rig.device, wide, wide)
    ours = forced_thoughts(Plain(lm), rig.rows, rig.before, count)
    found["fp32"] = rig.compare("plain, fp32", ours, theirs, "published")
    found["talk"] = parting(rig.talk(Plain(lm))[0], their_talk, margins)
    rig.row("7", "plain, greedy, fp32", "published", found["talk"])
    rig.save()
    # Every way in bf16 adds embeddings up in bf16, bit for bit the same.
    for name in ("emb", "text_emb"):
        narrow = getattr(lm, name).to(torch.bfloat16)
        setattr(lm, name, torch.nn.Parameter(narrow, requires_grad=False))
    truth = forced_thoughts(Plain(lm), rig.rows, rig.before, count)
    del lm
    rig.free()
    for name, way in (
        ("published, bf16", lambda: Published(rig.config, rig.fetch, rig.device)),
        ("plain, bf16", lambda: Plain(plain_lm(rig.config, rig.fetch, rig.device))),
        ("fast, bf16/bf16", lambda: fast_way(rig, "bf16", "bf16")),
        ("fast, int8/int8", lambda: fast_way(rig, "int8", "int8")),
    ):
        thoughts = forced_thoughts(way(), rig.rows, rig.before, count)
        found[name] = rig.compare(name, thoughts, truth, "fp32")
        rig.free()
        rig.save()


def fast_way(rig, weights, kv):
    return Fast(rig.packed(weights), rig.mimi, kv, rig.ops(), rig.on_gpu)


def prefill(rig, found):
    """A prompt at once and row by row: the same keys and values, the same talk."""
    for dtype in (torch.bfloat16, torch.float32):
        rig.free()
        name = str(dtype).removeprefix("torch.")
        lm = plain_lm(rig.config, rig.fetch, rig.device, dtype)
        at_once, stepped = Plain(lm), Plain(lm)
        at_once.feed(rig.fed)
        for row in rig.fed:
            lm.temporal.step(lm.embed(row[None]).to(lm.dtype), stepped.ring, None)
        stepped.fed = len(rig.fed)
        errors = []
        for one, other in zip(at_once.ring.layers, stepped.ring.layers, strict=True):
            error = (one - other).float().norm() / other.float().norm()
            errors.append(error.item())
        nothing = rig.fed[:0]
        frames = 30 if rig.on_gpu else 10
        talks = [
            converse(way, nothing, rig.last, rig.carry, rig.user[:frames])
            for way in (at_once, stepped)
        ]
        talk = parting(talks[0][0], *talks[1])
        found[name] = {"kv_relative_most": max(errors), "kv": errors, "talk": talk}
        rig.save()
        what = f"{rig.prompt_rows} rows at once, {name}"
        rig.row("P", f"{what}: keys and values", "stepped", {"relative": max(errors)})
        rig.row("P", f"{what}, then greedy", "stepped", talk)
        del lm, at_once, stepped, talks


def render(step, what, reference, found):
    """A line of the table."""
    keys = ("values", "differ", "clear", "clear_differ", "margin_most", "error")
    more = ("error_ulps", "relative", "cosine_least", "frames", "stream", "margin")
    shown = []
    for key in (*keys, *more, "ms"):
        if (value := found.get(key)) is not None:
            wide = "{} {:.5g}" if isinstance(value, float) else "{} {}"
            shown.append(wide.format(key, value))
    return f"| {step} | {what} | {reference} | {', '.join(shown)} |"


PARTS = {
    "published": published_and_plain,
    "formats": formats,
    "exact": exact,
    "engine": on_gpu_engine.sessions,
    "codec": on_gpu_codec.codec,
    "prefill": prefill,
    "prompt": on_gpu_engine.prompt_times,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--config", default="personaplex-7b", choices=("personaplex-7b", "small")
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    rig = Rig(arguments)
    name = torch.cuda.get_device_name() if rig.on_gpu else "cpu"
    rig.found = {"device": name, "torch": torch.__version__, "config": rig.config.name}

    def save():
        if arguments.out:
            arguments.out.write_text(json.dumps(rig.found) + "\n")

    rig.save = save
    failed = False
    with torch.inference_mode():
        for part in arguments.parts.split(","):
            began, shown = time.perf_counter(), len(rig.table)
            found = rig.found[part] = {}
            try:
                PARTS[part](rig, found)
            except Exception:  # noqa: BLE001 - the others still tell something
                failed = True
                traceback.print_exc()
                found["failed"] = traceback.format_exc()[-2000:]
            rig.free()
            took = time.perf_counter() - began
            rig.found.setdefault("seconds", {})[part] = round(took, 1)
            for line in rig.table[shown:]:
                say(render(*line))
            say(f"{part}: {took:.1f} s")
            save()
    say(json.dumps(rig.found))
    return int(failed)


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
