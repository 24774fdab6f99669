"""The published model (requirements-parity.txt) at our sizes, with our tensors.

Its modules are built and called as they are; only what its own generator cannot do,
a persona prompt, is put around them, from the literal ring form of the specification.
"""

import contextlib
import dataclasses
from importlib.metadata import version

import torch

from inference.timing import STREAMS
from tests.inference.network.reference import Reference

PINNED = "0.1.0"
USER_STREAMS = 8


def published_lm(config, tensors=None, dtype=torch.float32, spare=0, device="cpu"):
    """The published LMModel; ``tensors`` by their stored names, loaded strictly.

    ``spare``: so many streams between the agent's and the user's that add nothing.
    """
    assert version("moshi") == PINNED, (
        "run: pip install --no-deps -r requirements-parity.txt"
    )
    from moshi.models import loaders
    from moshi.models.lm import LMModel

    delays = list(config.delays)
    delays[9:9] = [1] * spare
    sizes = {
        "dim": config.temporal.dim,
        "num_heads": config.temporal.heads,
        "num_layers": config.temporal.layers,
        "context": config.temporal.context,
        "text_card": config.text_cardinality,
        "card": config.audio_cardinality,
        "depformer_dim": config.depth.dim,
        "depformer_num_heads": config.depth.heads,
        "depformer_num_layers": config.depth.layers,
        "depformer_dim_feedforward": int(4.125 * config.depth.dim),
        "n_q": 16 + spare,
        "dep_q": config.depth.steps_stored,
        "delays": delays,
    }
    model = LMModel(**(loaders._lm_kwargs | sizes), device=device)
    if tensors is not None:
        model.load_state_dict(tensors, strict=True)
    return model.to(dtype).eval().requires_grad_(False)


def spread(tensors, spare):
    """Our tensors for a model with spare streams: their embeddings are zero."""
    spread = {}
    for name, tensor in tensors.items():
        _, _, rest = name.partition("emb.")
        number = rest.partition(".")[0]
        if name.startswith("emb.") and int(number) >= USER_STREAMS:
            name = f"emb.{int(number) + spare}.weight"
        spread[name] = tensor
    for number in range(USER_STREAMS, USER_STREAMS + spare):
        spread[f"emb.{number}.weight"] = torch.zeros_like(tensors["emb.0.weight"])
    return spread


def generated(config, tensors, user, dtype):
    """What the published generator itself says, greedy and without a prompt, to user
    codes [n, 8]: text and agent codes [n - 1, 9] of frames 1 and on.

    It runs as many depth steps as the model stores, and takes as input what they do
    not give. So that 16 steps leave the user's streams to the user, 8 more streams
    stand before those, whose embeddings are zero.
    """
    from moshi.models.lm import LMGen

    tensors = spread({name: t.to(dtype) for name, t in tensors.items()}, USER_STREAMS)
    model = published_lm(config, tensors, dtype, spare=USER_STREAMS)
    generator = LMGen(model, use_sampling=False)
    said = []
    with generator.streaming(1):
        for codes in user:
            tokens = generator.step(codes[None, :, None])
            if tokens is not None:
                said.append(tokens[0, :9, 0].tolist())
    return said


class PublishedSession(Reference):
    """The literal ring form around the published transformers."""

    def __init__(self, config, tensors, dtype=torch.float32, steps=16):
        heads = {"heads": 0, "layers": 0, "context": 0}
        depth = {"depth_heads": 0, "depth_layers": 0}
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
        super().__init__(tensors, heads | depth)
        self.model = published_lm(config, tensors, dtype)
        self.steps = steps  # of depth; what 8 to 15 choose is always overwritten
        self.unfed = None
        self.streaming = contextlib.ExitStack()  # kept: it ends when it is collected
        self.streaming.enter_context(self.model.transformer.streaming(1))

    def embed(self, row):
        return row

    def temporal(self, row, t):
        if self.unfed is not None:
            self.unfed.append(row.clone())
            return None, torch.zeros(1)
        hidden, logits = self.model.forward_text(row[None, :, None])
        return hidden, logits[0, 0, 0]

    def depth(self, hidden, text, wanted):
        if self.unfed is not None:
            return wanted
        codes = []
        with self.model.depformer.streaming(1):
            for c in range(self.steps):
                before = torch.tensor([[[codes[-1] if c else text]]])
                logits = self.model.forward_depformer(c, before, hidden)
                chosen = int(logits.float().flatten().argmax())
                codes.append(chosen if wanted[c] < 0 else wanted[c])
        return codes + wanted[self.steps :]

    def feed(self, frames, chunk=1):
        """Fully provided frames [n, 17], without depth steps, whose choices would all
        be overwritten. Rows of one call must not overwrite what others of it see: more
        than one only before the ring is full."""
        self.unfed = []
        for frame in frames.tolist():
            self.call(frame)
        rows, self.unfed = torch.stack(self.unfed, dim=1), None
        for part in rows.split(chunk, dim=1):
            self.model.forward_text(part[None])


def at_context(config, context):
    temporal = dataclasses.replace(config.temporal, context=context)
    return dataclasses.replace(config, temporal=temporal)


def only_user(codes):
    return [None] * (STREAMS - USER_STREAMS) + codes.tolist()
