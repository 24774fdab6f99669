"""Language models side by side at any size: what each thinks of the same rows, and what
it says when it continues alone. Each way to run one is a class with the same methods:

``feed(rows)``: many rows [n, 17] at once, from position 0 on.
``step(row, forced)``: one row [17]; ``forced`` [9] are the text and agent tokens of the
row after it, FREE where the model is to choose. Returns its Thought and the 9 tokens.
``begin(row, carry)``, ``go_on(user)``: a conversation, greedy; see converse().
"""

import contextlib
import zlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from inference.engine.api import Sampling
from inference.engine.gpu.batch import CudaSlotBatch
from inference.kernels.packed import random_weights
from inference.network.config import FREE, USER
from inference.network.lm import LanguageModel
from inference.network.stored import stored_tensors
from inference.timing import CODEBOOKS, FRAME_SAMPLES
from tests.inference.parity.models import ulp, ulps_apart
from tests.inference.parity.published import published_lm

OWN = 1 + CODEBOOKS
CHUNK = 128  # rows of a prefill
CLEAR = 2  # bf16 units in the last place between the two best: no tie


@dataclass
class Thought:
    """Of one row, or stacked of many [n, …]."""

    hidden: torch.Tensor  # [dim]
    text: torch.Tensor  # logits
    codes: torch.Tensor  # logits [8, …]

    @classmethod
    def stacked(cls, thoughts):
        return cls(*(torch.stack(parts) for parts in zip(*thoughts, strict=True)))

    def __iter__(self):
        return iter((self.hidden, self.text, self.codes))

    def first(self, count):
        return Thought(*(part[:count] for part in self))

    def margins(self):
        """Of each stream, in bf16 units, how far the second best is, [..., 9]."""
        text = ulps_apart(self.text.bfloat16())[..., None]
        return torch.cat((text, ulps_apart(self.codes.bfloat16())), dim=-1)

    def best(self):
        codes = self.codes.float().argmax(-1)
        return torch.cat((self.text.float().argmax(-1)[..., None], codes), dim=-1)


def weights_by_name(device):
    """Random weights that depend on the name alone, not on when they are asked for."""

    def fetch(name, shape):
        return random_weights(device, zlib.crc32(name.encode()))(name, shape)

    return fetch


def plain_lm(config, fetch, device, dtype=torch.bfloat16, summed=torch.bfloat16):
    """``summed``: the type in which embeddings are added up."""
    lm = LanguageModel(config, dtype, device, embedding_dtype=summed)
    for stored in stored_tensors(lm):
        if stored.target is not None:
            rows = fetch(stored.name, stored.shape)[: stored.resident_rows]
            stored.target.copy_(rows.reshape(stored.target.shape))
    return lm


class Spoken:
    """The timeline around ``step``, in tensors; no part of the product."""

    def begin(self, row, carry):
        self.row, self.carry = row.to(self.device), carry.to(self.device)

    def go_on(self, codes):
        delayed = torch.tensor(self.config.delays, device=self.device) > 0
        frame = torch.full_like(self.row, FREE)
        frame[USER] = codes
        forced = torch.where(delayed, self.carry, frame)
        thought, chosen = self.step(self.row, forced[:OWN])
        self.carry = torch.where(delayed, frame, FREE)
        self.row = torch.cat((chosen, forced[OWN:]))
        return thought, chosen


class Plain(Spoken):
    """inference.network, which is what the published model is compared with on CPU."""

    def __init__(self, lm):
        self.lm, self.config, self.device = lm, lm.config, lm.text_emb.device
        self.ring, self.fed = lm.temporal.ring(1), 0

    def feed(self, rows, chunk=CHUNK):
        embedded = self.lm.embed(rows).to(self.lm.dtype)
        for part in embedded.split(chunk):
            self.lm.temporal.prefill(part, self.ring, 0, self.fed)
            self.fed += len(part)

    def step(self, row, forced):
        lm, seen = self.lm, []
        x = lm.embed(row[None]).to(lm.dtype)
        hidden = lm.temporal.step(x, self.ring, None)
        self.fed += 1
        logits = F.linear(hidden, lm.text_linear)
        text = torch.where(forced[:1] >= 0, forced[:1], logits.float().argmax(-1))

        def choose(_, logits):
            seen.append(logits[0])
            return logits.float().argmax(-1)

        codes = lm.depth.step(hidden, text, forced[None, 1:], choose)
        thought = Thought(hidden[0], logits[0], torch.stack(seen))
        return thought, torch.cat((text, codes[0]))


class Published(Spoken):
    """The package's modules, one frame a call."""

    def __init__(self, config, fetch, device, dtype=torch.bfloat16):
        self.config, self.device = config, torch.device(device)
        usual = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # else all of it passes through fp32
        try:
            with self.device:
                self.model = published_lm(config, None, dtype, device=device)
        finally:
            torch.set_default_dtype(usual)
        for name, tensor in self.model.state_dict().items():
            tensor.copy_(fetch(name, tuple(tensor.shape)))
        self.streaming = contextlib.ExitStack()
        self.restart()

    def restart(self):
        self.streaming.close()
        self.streaming.enter_context(self.model.transformer.streaming(1))

    def feed(self, rows, chunk=CHUNK):
        for part in rows.split(chunk):
            self.model.forward_text(part.T[None])

    def step(self, row, forced):
        hidden, logits = self.model.forward_text(row[None, :, None])
        text = logits[0, 0, 0]
        chosen, seen = [torch.where(forced[0] >= 0, forced[0], text.argmax())], []
        with self.model.depformer.streaming(1):
            for c in range(CODEBOOKS):
                before = chosen[-1].view(1, 1, 1)
                out = self.model.forward_depformer(c, before, hidden).flatten()
                seen.append(out)
                wanted = forced[1 + c]
                chosen.append(torch.where(wanted >= 0, wanted, out.argmax()))
        return Thought(hidden[0, 0], text, torch.stack(seen)), torch.stack(chosen)


class Recording:
    """Functions of a fast or plain path; of every choice the logits are kept, where a
    captured graph finds them again."""

    def __init__(self, ops, config, slots, device):
        self.ops = ops
        sizes = (slots, config.text_cardinality), (slots, config.audio_cardinality)
        kind = {"dtype": torch.bfloat16, "device": device}
        self.text = torch.zeros(*sizes[0], **kind)
        self.codes = torch.zeros(CODEBOOKS, *sizes[1], **kind)

    def __getattr__(self, name):
        return getattr(self.ops, name)

    def choose(self, parts, stream, *rest):
        into = self.text if stream == 0 else self.codes[stream - 1]
        into[: parts.shape[1]].copy_(parts.sum(0))
        return self.ops.choose(parts, stream, *rest)


class WatchedBatch(CudaSlotBatch):
    """The serving step, except that the user's codes are given."""

    def __init__(self, packed, mimi, slots, kv, ops):
        self.watched = Recording(ops, packed.config, slots, packed.device)
        super().__init__(packed, mimi, slots, kv, self.watched)
        dim = packed.config.temporal.dim
        kind = {"dtype": torch.bfloat16, "device": packed.device}
        self.hidden = torch.zeros(slots, dim, **kind)
        self.given = torch.zeros_like(self._user)

    def encode(self, n):
        self._user[:n].copy_(self.given[:n])

    def speak(self, n):
        temporal = self.lm.temporal

        def kept(active):
            hidden = temporal(active)
            self.hidden[:n].copy_(hidden)
            return hidden

        self.lm.temporal = kept
        try:
            super().speak(n)
        finally:
            del self.lm.temporal


class Fast:
    """Packed weights, by the serving step; captured where there is a GPU for that.
    Row 0 of a batch of two is the one that is looked at."""

    SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.int16)

    def __init__(self, packed, mimi, kv, ops, captured):
        self.batch = WatchedBatch(packed, mimi, 2, kv, ops)
        self.config, self.device = packed.config, packed.device
        if captured:
            self.batch.capture([1, 2])
        self.restart()

    def restart(self):
        self.fed = 0
        self.batch.begin(0, Sampling(greedy=True))

    def feed(self, rows, chunk=CHUNK):
        lm = self.batch.lm
        for part in rows.split(chunk):
            lm.prefill(0, lm.embed(part), self.fed)
            self.fed += len(part)

    def _newest(self):
        batch, watched = self.batch, self.batch.watched
        thought = batch.hidden[0], watched.text[0], watched.codes[:, 0]
        self.fed += 1
        return Thought(*(part.clone() for part in thought)), batch._chosen[0].clone()

    def step(self, row, forced):
        self.batch.lm.row[0] = row
        self.batch.lm.carry[0, :OWN] = forced
        self.batch.lm.position[0] = self.fed
        self.batch.lead(0)
        return self._newest()

    def begin(self, row, carry):
        self.batch.lm.begin(0, row, carry)
        self.batch.lead(0)
        self.next = self._newest()

    def go_on(self, codes):
        """The step that has run already; with its codes the next one runs."""
        self.batch.given[0] = codes
        self.batch.step({0: self.SILENCE})
        gone, self.next = self.next, self._newest()
        return gone


def forced_thoughts(way, rows, before, count):
    """Fed ``before`` rows at once, then ``count`` one by one, each choice forced."""
    way.feed(rows[:before])
    thoughts = []
    for at in range(before, before + count):
        thoughts.append(way.step(rows[at], rows[at + 1, :OWN])[0])
    return Thought.stacked(thoughts)


def converse(way, fed, row, carry, user):
    """After a prompt, to user codes [n, 8]: the tokens [n, 9] chosen in each step, and
    of each the margin over the second best."""
    way.feed(fed)
    way.begin(row, carry)
    chosen, margins = [], []
    for codes in user:
        thought, tokens = way.go_on(codes)
        chosen.append(tokens)
        margins.append(thought.margins())
    return torch.stack(chosen), torch.stack(margins)


def parting(ours, theirs, margins):
    """Where two conversations part: equal frames, and the margin of the stream that
    was chosen otherwise; None where they never part."""
    count = min(len(ours), len(theirs))
    wrong = (ours[:count] != theirs[:count]).nonzero()
    if not len(wrong):
        return {"frames": count, "stream": None, "margin": None}
    frame, stream = wrong[0].tolist()
    margin = margins[frame, stream].item()
    return {"frames": frame, "stream": stream, "margin": round(margin, 2)}


def agreement(ours, theirs):
    """How far thoughts are from a reference's, and whether choices differ that are no
    ties there."""
    found = {}
    difference = (ours.hidden.float() - theirs.hidden.float()).norm(dim=-1)
    size = theirs.hidden.float().norm(dim=-1)
    cosine = torch.cosine_similarity(ours.hidden.float(), theirs.hidden.float(), dim=-1)
    found["hidden"] = {
        "values": theirs.hidden.numel(),
        "differ": int((ours.hidden != theirs.hidden).sum()),
        "error": (ours.hidden.float() - theirs.hidden.float()).abs().max().item(),
        "relative": (difference / size).mean().item(),
        "relative_most": (difference / size).max().item(),
        "cosine_least": cosine.min().item(),
    }
    margins, wrong = theirs.margins(), ours.best() != theirs.best()
    for name, part, mine, their in (
        ("text", slice(0, 1), ours.text, theirs.text),
        ("codes", slice(1, OWN), ours.codes, theirs.codes),
    ):
        bad, margin = wrong[:, part], margins[:, part]
        size = their.float().norm(dim=-1)
        relative = (mine.float() - their.float()).norm(dim=-1) / size
        units = (mine.float() - their.float()).abs() / ulp(their.bfloat16())
        found[name] = {
            "values": bad.numel(),
            "differ": int(bad.sum()),
            "clear": int((margin > CLEAR).sum()),
            "clear_differ": int((bad & (margin > CLEAR)).sum()),
            "margin_most": round(margin[bad].max().item(), 2) if bad.any() else 0.0,
            "logits_differ": int((mine != their).sum()),
            "error": (mine.float() - their.float()).abs().max().item(),
            "error_ulps": round(units.max().item(), 2),
            "relative": relative.mean().item(),
        }
    return found
