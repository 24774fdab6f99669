"""Trains the language model on an endless stream of really mixed dialogues.

One command, any number of GPUs (``torchrun``) or none.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.config import AGENT, PAD, TEXT, TINY, USER
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.timing import CODEBOOKS
from inference.training.corpus.dialogues import NOTHING
from inference.training.corpus.mixing import DialoguePool
from inference.training.corpus.plans import PlanSource
from inference.training.distributed import Ranks
from inference.training.evaluation.text_eval import evaluate
from inference.training.files import load_codec_file, load_folders, load_lm, save_lm
from inference.training.lm.batches import Assembler
from inference.training.lm.config import LMConfig
from inference.training.lm.forward import Forward
from inference.training.progress import Curves

HEARD_ROWS = 192  # of a sequence, at most, on which words that were heard are learnt


class LMTrainer:
    def __init__(self, config: LMConfig, codec: Mimi, ranks: Ranks) -> None:
        self.config, self.ranks = config, ranks
        self.device = device = ranks.device
        seed = torch.Generator().manual_seed(config.seed)
        self.model = LanguageModel(TINY, torch.float32, device, torch.float32)
        self.model.init_weights(seed)
        if config.init:
            load_lm(self.model, sorted(Path(config.init).glob("*.safetensors")))
        else:
            soften(self.model)
        self.model.requires_grad_(True)
        listener = nn.Linear(TINY.temporal.dim, TINY.text_cardinality)
        nn.init.normal_(listener.weight, std=TINY.temporal.dim**-0.5, generator=seed)
        nn.init.zeros_(listener.bias)
        self.listener = listener.to(device)
        self.forward = Forward(self.model, config.compiled)
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        vectors = [p for p in self.model.parameters() if p.dim() < 2]
        vectors += list(self.listener.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": config.decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            config.rate,
            (0.9, 0.95),
            fused=device.type == "cuda",
        )
        self.parameters = matrices + vectors
        ranks.from_first_(p.detach() for p in self.parameters)
        seed_here = config.seed + 5 + 1009 * ranks.rank
        self.generator = torch.Generator(device).manual_seed(seed_here)
        self.assembler = Assembler(config, codec, device)
        self.step = 0
        self.share = 0.0  # of the run that is over, the same for all ranks
        self.begun = time.monotonic()

    def look_at_the_clock(self) -> None:
        config = self.config
        share = self.step / config.steps if config.steps else 0.0
        if config.seconds:
            share = (time.monotonic() - self.begun) / config.seconds
        self.share = min(self.ranks.same(share), 1.0)

    def settle(self, pool: DialoguePool) -> None:
        """Compiles, or continues without: the first step shows which."""
        if not self.config.compiled:
            return
        begin = time.monotonic()
        try:
            self.train_step(pool)
            self.train_step(pool)
        except RuntimeError as error:
            sys.stderr.write(f"not compiled: {str(error)[:2000]}\n")
            self.forward = Forward(self.model, compiled=False)
        sys.stderr.write(f"settled in {time.monotonic() - begin:.1f} s\n")

    def heat(self) -> float:
        left = (1 - self.share) / (1 - self.config.cool_from)
        return min(1.0, (self.step + 1) / self.config.warm) * max(min(1.0, left), 0.0)

    def train_step(self, pool: DialoguePool) -> dict[str, Tensor]:
        config = self.config
        batch = self.assembler.draw(pool, self.generator)
        inputs = self._noisy(batch.rows[:, :-1])
        targets, free = batch.wanted[:, 1:], batch.free[:, 1:]
        with torch.autocast(self.device.type, torch.bfloat16):
            hidden = self.forward.temporal(inputs, batch.position[:, :-1])
            stress = 1 + config.fact_weight * batch.changed[:, 1:]
            alert = batch.alert[:, 1:]
            losses = self._text_losses(hidden, targets[..., TEXT], free, stress, alert)
            losses["heard"] = self._heard_loss(hidden, batch.heard[:, :-1])
            sounding = free & ~batch.changed[:, 1:]
            weight = 0.12 + batch.near[:, 1:] + config.alert_weight * alert
            losses |= self._audio_losses(hidden, targets, sounding, weight)
        total = 1.5 * losses["text"] + 2 * losses["audio"]
        total = total + config.heard_weight * losses["heard"]
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate * self.heat()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.ranks.average_gradients(self.parameters)
        losses["norm"] = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return losses

    def _noisy(self, rows: Tensor) -> Tensor:
        """Some codes replaced: the user's because a microphone will differ, the
        agent's because its own choices will."""
        rows = rows.clone()
        for streams, p in (
            (USER, self.config.user_noise),
            (AGENT, self.config.agent_noise),
        ):
            part = rows[..., streams]
            draw = torch.rand(part.shape, generator=self.generator, device=self.device)
            each = torch.rand(
                (len(rows), 1, 1), generator=self.generator, device=self.device
            )
            level = (2 * p * each).clamp(min=1e-4)
            bins = TINY.audio_cardinality
            other = (draw * (bins / level)).long() % bins
            wrong = (draw < level) & (part < bins)
            rows[..., streams] = torch.where(wrong, other, part)
        return rows

    def _text_losses(
        self,
        hidden: Tensor,
        text: Tensor,
        free: Tensor,
        stress: Tensor,
        alert: Tensor,
    ) -> dict[str, Tensor]:
        logits = F.linear(hidden, self.model.text_linear).float()
        each = F.cross_entropy(logits.flatten(0, 1), text.flatten(), reduction="none")
        each = each.view_as(text)
        word = (text != PAD) & free
        blank = (text == PAD) & free
        # Elsewhere silence counts less; there it is half of the decision.
        plain = word * stress + self.config.pad_weight * blank
        weight = torch.where(alert & free, self.config.alert_weight, plain)
        return {
            "text": (each * weight).sum() / weight.sum(),
            "word": (each * word).sum() / word.sum().clamp(min=1),
            "pad": (each * blank).sum() / blank.sum().clamp(min=1),
        }

    def _heard_loss(self, hidden: Tensor, heard: Tensor) -> Tensor:
        wanted = heard.flatten()
        count = min(self.config.batch * HEARD_ROWS, len(wanted))
        rows = (wanted != NOTHING).float().topk(count).indices
        logits = self.listener(hidden.flatten(0, 1)[rows]).float()
        return F.cross_entropy(logits, wanted[rows], ignore_index=NOTHING)

    def _audio_losses(
        self, hidden: Tensor, targets: Tensor, free: Tensor, weight: Tensor
    ) -> dict[str, Tensor]:
        """On a choice of rows by their weight: all codebooks of those."""
        ready = free & F.pad(free[:, :-1], (1, 0))  # also the delayed codes are free
        weight = (ready * weight).flatten().float() + 1e-9
        count = int(self.config.depth_rows * weight.numel())
        draw = torch.rand(weight.shape, generator=self.generator, device=self.device)
        rows = (draw.clamp(min=1e-9).log() / weight).topk(count).indices
        good = ready.flatten()[rows]
        codes = targets[..., AGENT].flatten(0, 1)[rows]
        text = targets[..., TEXT].flatten()[rows]
        logits = self.forward.depth(hidden.flatten(0, 1)[rows], text, codes).float()
        each = F.cross_entropy(
            logits.flatten(0, 1), codes.t().flatten(), reduction="none"
        ).view(CODEBOOKS, -1)
        mean = (each * good).sum(1) / good.sum().clamp(min=1)
        audio = (3 * mean[0] + mean[1:].sum()) / (CODEBOOKS + 2)
        return {"audio": audio, "semantic": mean[0], "acoustic": mean[1:].mean()}


@torch.no_grad()
def soften(model: LanguageModel) -> None:
    """Heads that begin with even odds, branches that begin small."""
    for layers in (model.temporal.layers, model.depth.layers):
        scale = (2 * len(layers)) ** -0.5
        for layer in layers:
            layer.out_proj.mul_(scale)
            layer.linear_out.mul_(scale)
    model.text_linear.mul_(0.2)
    model.depth.heads.mul_(0.2)
    model.depth.text_emb.mul_(0.5)
    model.depth.emb.mul_(0.5)


def train_lm(config: LMConfig) -> None:
    ranks = Ranks()
    torch.backends.cudnn.allow_tf32 = True
    codec = load_codec_file(config.codec, ranks.device)
    corpus = load_folders(config.archives, config.shards)
    sys.stderr.write(
        f"corpus: {len(corpus.entries)} utterances, {corpus.hours:.2f} h\n"
    )
    source = PlanSource(
        corpus.entries,
        Path(config.tokenizer),
        config.seed + 104_729 * ranks.rank,
        config.fresh,
        config.frames,
        config.workers,
    )
    sound = torch.from_numpy(corpus.pcm).to(ranks.device)
    pool = DialoguePool(config.pool, config.frames, ranks.device)
    trainer = LMTrainer(config, codec, ranks)
    curves = Curves(Path(config.out), "lm", shown=ranks.first)
    run(trainer, pool, source, sound, codec, curves)
    source.stop()
    if ranks.first:
        save_lm(trainer.model, Path(config.out))
    curves.close()
    ranks.close()
    if config.trials and ranks.first:
        trainer.model.requires_grad_(False)
        out, tokenizer = Path(config.out), Path(config.tokenizer)
        evaluate(
            trainer.model, codec, sound, corpus.entries, tokenizer, out, config.trials
        )


def run(
    trainer: LMTrainer,
    pool: DialoguePool,
    source: PlanSource,
    sound: Tensor,
    codec: Mimi,
    curves: Curves,
) -> None:
    """Alternates between training and new dialogues by the share of time for each."""
    config, ranks = trainer.config, trainer.ranks
    spent = {"data": 0.0, "train": 0.0}
    saved, made = 0.0, 0

    def timed(what: str, begin: float) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        spent[what] += time.monotonic() - begin

    def renew() -> None:
        begin = time.monotonic()
        pool.renew(sound, codec, source.next(), trainer.generator, ranks)
        timed("data", begin)

    while pool.filled < config.first:
        renew()
        made += config.fresh * ranks.count
    sys.stderr.write(f"pool: {pool.filled} dialogues in {spent['data']:.1f} s\n")
    spent["data"] = 0.0
    trainer.settle(pool)
    trainer.look_at_the_clock()
    while trainer.share < 1.0:
        begin = time.monotonic()
        losses = trainer.train_step(pool)
        timed("train", begin)
        allowed = config.data_share / (1 - config.data_share)
        while ranks.agree(spent["data"] < allowed * spent["train"]):
            renew()
            made += config.fresh * ranks.count
        curves.add(trainer.step, trainer.share, losses)
        trainer.step += 1
        trainer.look_at_the_clock()
        if ranks.first and time.monotonic() - saved > config.save_seconds:
            saved = time.monotonic()
            save_lm(trainer.model, Path(config.out))
    report = {"steps": trainer.step, "dialogues": made, **spent}
    sys.stderr.write(json.dumps(report) + "\n")
