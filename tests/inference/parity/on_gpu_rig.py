"""What the parts of on_gpu.py share: sizes, weights, made-up rows, what was found."""

import gc
from dataclasses import replace

import torch

from inference.kernels.packed import pack_model
from inference.network.config import PERSONAPLEX_7B
from inference.network.timeline import rows_of_frames
from tests.inference.kernels.shapes import small_config
from tests.inference.network.mimi.examples import lively_codec
from tests.inference.parity.side_by_side import agreement, converse, weights_by_name


def smaller():
    """As the published checkpoint: of eight depth steps alone the last would lose sight
    of the first."""
    config = small_config(context=120)
    return replace(config, depth=replace(config.depth, steps_stored=16))


class Rig:
    def __init__(self, arguments):
        self.device = torch.device(arguments.device)
        self.on_gpu = self.device.type == "cuda"
        big = arguments.config == "personaplex-7b"
        self.config = PERSONAPLEX_7B if big else smaller()
        self.fetch = weights_by_name(self.device)
        context = self.config.temporal.context
        # So many rows at once, then so many one by one: the ring fills half-way.
        self.steps = 160 if big else 20
        self.before = context - self.steps // 2
        self.talk_frames, self.plain_steps = (80, 40) if big else (12, 12)
        self.rows = self.random_rows(self.before + self.steps + 1, 1)
        # 362 rows are fed of 363 frames: a voice of 15 s and a role prompt of 160.
        self.prompt_rows = 362 if big else 30
        frames = self.random_rows(self.prompt_rows + 1, 2).cpu()
        frames = frames.clamp(max=self.config.audio_cardinality - 1)
        rows, self.carry = rows_of_frames(self.config, frames)
        self.fed, self.last = rows[:-1].to(self.device), rows[-1]
        self.user = self.random_rows(self.talk_frames, 3)[:, 9:]
        self.mimi = lively_codec(self.config.mimi).to(self.device)
        self.mimi.requires_grad_(False)
        self.found, self.table = {}, []
        self.thoughts = self.said = None  # the plain path's

    def random_rows(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        config = self.config
        rows = torch.randint(
            0, config.audio_cardinality, (count, 17), generator=generator
        )
        text = torch.randint(0, config.text_cardinality, (count,), generator=generator)
        rows[:, 0] = text
        return rows.to(self.device)

    def ops(self):
        if self.on_gpu:
            from inference.kernels import fast as ops
        else:
            from inference.kernels import plain as ops
        return ops

    def packed(self, weights):
        return pack_model(self.config, weights, self.fetch, self.device)

    def free(self):
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def talk(self, way, frames=None):
        user = self.user[:frames]
        return converse(way, self.fed, self.last, self.carry, user)

    def compare(self, what, ours, theirs, reference):
        """Into the table: hidden states (4), text (4) and codes (5)."""
        found = agreement(ours, theirs)
        n, hidden = len(theirs.hidden), found["hidden"]
        self.row("4", f"{what}: hidden of {n} rows", reference, hidden)
        for step, name in (("4", "text"), ("5", "codes")):
            self.row(step, f"{what}: {name}", reference, found[name])
        return found

    def row(self, step, what, reference, found):
        self.table.append((step, what, reference, found))
