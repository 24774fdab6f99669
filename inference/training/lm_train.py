"""Trains the language model on an endless stream of really mixed dialogues.

One command, one GPU or none. Knows the model, the pool and the losses.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.config import AGENT, PAD, TEXT, TINY, USER
from inference.network.lm import LanguageModel
from inference.network.mimi import MIMI_TINY, Mimi
from inference.quiet import quiet_codes
from inference.timing import CODEBOOKS, STREAMS
from inference.training.bank import Bank, ShardReader, read_archive
from inference.training.lm_forward import Forward
from inference.training.lm_plans import VARIANTS, PlanSource
from inference.training.mixing import DialoguePool
from inference.training.progress import Curves
from inference.training.ranks import Ranks
from inference.training.trials import evaluate


@dataclass(frozen=True)
class LMConfig:
    codec: str
    tokenizer: str
    out: str
    archives: str = ""  # folders of speech archives and of shards, by commas
    shards: str = ""
    seed: int = 1
    steps: int = 0  # one of steps and seconds decides
    seconds: float = 0.0
    batch: int = 64
    length: int = 512  # rows of a sequence, the persona prompt among them
    frames: int = 432  # of a dialogue
    pool: int = 4096
    first: int = 512  # dialogues to begin with
    fresh: int = 32  # new dialogues each time
    data_share: float = 0.45  # of the time that may go into new dialogues
    workers: int = 10
    rate: float = 1.5e-3
    warm: int = 150
    cool_from: float = 0.6
    decay: float = 0.05
    compiled: bool = True
    depth_rows: float = 0.3  # of all rows, the ones that the depth transformer learns
    varied: float = 0.6  # dialogues whose facts are others than the sound's
    pad_weight: float = 0.3
    heard_weight: float = 0.4
    user_noise: float = 0.06
    agent_noise: float = 0.02
    init: str = ""
    save_seconds: float = 90.0
    trials: int = 0  # conversations of each kind after the training


@dataclass
class Batch:
    rows: Tensor  # int64 [B, L, 17]
    free: Tensor  # bool [B, L], rows whose text the model chooses
    loud: Tensor  # bool [B, L]
    heard: Tensor  # int64 [B, L]
    changed: Tensor  # bool [B, L], sound and text differ: no sound to learn


def load_speech(config: LMConfig) -> Bank:
    bank = Bank()
    for folder in filter(None, config.archives.split(",")):
        read = read_archive(sorted(Path(folder).glob("speech-*.bin")))
        bank = bank.extended(read.entries, read.pcm)
    for folder in filter(None, config.shards.split(",")):
        bank = ShardReader(Path(folder)).update(bank)
    return bank


class Assembler:
    """Pool entries to rows of the timeline, with the prompt frames of inference."""

    def __init__(self, config: LMConfig, codec: Mimi, device: torch.device) -> None:
        quiet = quiet_codes(TINY, codec)
        self.config = config
        self.silence = quiet.silence.to(device)
        self.sine = quiet.sine.to(device)
        delays = torch.tensor(TINY.delays, device=device)
        self.start = torch.full((STREAMS,), TINY.audio_start, device=device)
        self.start[TEXT] = TINY.text_start
        self.delayed = delays > 0

    def draw(self, pool: DialoguePool, generator: torch.Generator) -> Batch:
        config = self.config
        device = pool.agent.device
        pick = torch.randint(
            pool.filled, (config.batch,), generator=generator, device=device
        )
        draw = torch.rand(config.batch, generator=generator, device=device)
        other = (draw / max(config.varied, 1e-6) * (VARIANTS - 1)).long() + 1
        variant = torch.where(draw < config.varied, other, 0)
        voiced = pool.voice_frames[pick].long()[:, None]
        tokens = pool.prompt_tokens[pick, variant].long()[:, None]
        prompt = voiced + 12 + tokens
        at = torch.arange(config.length, device=device)[None]
        here = at - prompt
        talking = here >= 0
        index = here.clamp(0, pool.frames - 1)

        def track(values: Tensor) -> Tensor:
            chosen = values[pick, variant] if values.dim() == 3 else values[pick]
            return chosen.long().gather(1, index)

        def codes(values: Tensor, index: Tensor) -> Tensor:
            wide = index[:, None].expand(-1, CODEBOOKS, -1)
            return values[pick].long().gather(2, wide).transpose(1, 2)

        reading = (at >= voiced + 6) & (at < voiced + 6 + tokens)
        said = (
            pool.prompt[pick, variant]
            .long()
            .gather(1, (at - voiced - 6).clamp(0, pool.prompt.shape[-1] - 1))
        )
        frames = torch.empty(
            config.batch, config.length, STREAMS, dtype=torch.int64, device=device
        )
        spoken = torch.where(reading, said, PAD)
        frames[..., TEXT] = torch.where(talking, track(pool.text), spoken)
        voice = codes(
            pool.voice, at.clamp(max=pool.voice.shape[2] - 1).expand(config.batch, -1)
        )
        quiet = torch.where((at < voiced)[..., None], voice, self.silence)
        frames[..., AGENT] = torch.where(
            talking[..., None], codes(pool.agent, index), quiet
        )
        frames[..., USER] = torch.where(
            talking[..., None], codes(pool.user, index), self.sine
        )
        rows = frames.clone()
        rows[:, 1:, self.delayed] = frames[:, :-1, self.delayed]
        rows[:, 0] = self.start
        rows[:, 1, self.delayed] = self.start[self.delayed]
        heard = torch.where(talking, track(pool.heard), -100)
        changed = talking & (track(pool.changed) > 0)
        return Batch(rows, talking, track(pool.loud) > 0, heard, changed)


class LMTrainer:
    def __init__(self, config: LMConfig, codec: Mimi, device: torch.device) -> None:
        self.config = config
        self.device = device
        seed = torch.Generator().manual_seed(config.seed)
        self.model = LanguageModel(TINY, torch.float32, device, torch.float32)
        self.model.init_weights(seed)
        if config.init:
            load_lm(self.model, sorted(Path(config.init).glob("lm-*.safetensors")))
        else:
            soften(self.model)
        self.model.requires_grad_(True)
        self.listener = nn.Linear(TINY.temporal.dim, TINY.text_cardinality).to(device)
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
        self.generator = torch.Generator(device).manual_seed(config.seed + 5)
        self.assembler = Assembler(config, codec, device)
        self.step = 0
        self.begun = time.monotonic()

    @property
    def share(self) -> float:
        if self.config.seconds:
            return min((time.monotonic() - self.begun) / self.config.seconds, 1.0)
        return self.step / self.config.steps

    def settle(self, pool: DialoguePool) -> None:
        """Compiles, or goes on without: the first step shows which."""
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
        targets, free = batch.rows[:, 1:], batch.free[:, 1:]
        with torch.autocast(self.device.type, torch.bfloat16):
            hidden = self.forward.temporal(inputs)
            losses = self._text_losses(hidden, targets[..., TEXT], free)
            losses["heard"] = self._heard_loss(hidden, batch.heard[:, :-1])
            sounding = free & ~batch.changed[:, 1:]
            losses |= self._audio_losses(hidden, targets, sounding, batch.loud[:, 1:])
        total = 1.5 * losses["text"] + 2 * losses["audio"]
        total = total + config.heard_weight * losses["heard"]
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate * self.heat()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
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
            other = (
                draw * (TINY.audio_cardinality / p)
            ).long() % TINY.audio_cardinality
            wrong = (draw < p) & (part < TINY.audio_cardinality)
            rows[..., streams] = torch.where(wrong, other, part)
        return rows

    def _text_losses(
        self, hidden: Tensor, text: Tensor, free: Tensor
    ) -> dict[str, Tensor]:
        logits = F.linear(hidden, self.model.text_linear).float()
        each = F.cross_entropy(logits.flatten(0, 1), text.flatten(), reduction="none")
        each = each.view_as(text)
        word = (text != PAD) & free
        blank = (text == PAD) & free
        weight = word + self.config.pad_weight * blank
        return {
            "text": (each * weight).sum() / weight.sum(),
            "word": (each * word).sum() / word.sum().clamp(min=1),
            "pad": (each * blank).sum() / blank.sum().clamp(min=1),
        }

    def _heard_loss(self, hidden: Tensor, heard: Tensor) -> Tensor:
        logits = self.listener(hidden).float()
        return F.cross_entropy(logits.flatten(0, 1), heard.flatten(), ignore_index=-100)

    def _audio_losses(
        self, hidden: Tensor, targets: Tensor, free: Tensor, loud: Tensor
    ) -> dict[str, Tensor]:
        """On a choice of rows: all codebooks of those, most of them with speech."""
        ready = free & F.pad(free[:, :-1], (1, 0))  # also the delayed codes are free
        weight = (ready * (0.12 + loud)).flatten().float() + 1e-9
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


def load_codec_file(path: str, device: torch.device) -> Mimi:
    from safetensors.torch import load_file

    codec = Mimi(MIMI_TINY)
    codec.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return codec.to(device).eval().requires_grad_(False)


def save_lm(model: LanguageModel, folder: Path, shards: int = 3) -> None:
    """bf16, under the stored names, in files small enough to travel."""
    from safetensors.torch import save_file

    from inference.checkpoints import state_to_store

    state = {n: t.to(torch.bfloat16).cpu() for n, t in state_to_store(model).items()}
    names = sorted(state, key=lambda n: -state[n].numel())
    parts: list[dict[str, Tensor]] = [{} for _ in range(shards)]
    for name in names:
        smallest = min(parts, key=lambda part: sum(t.numel() for t in part.values()))
        smallest[name] = state[name].contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts):
        save_file(part, str(folder / f"lm-{number}.safetensors"))


@torch.no_grad()
def load_lm(model: LanguageModel, files: list[Path]) -> None:
    """What ``save_lm`` wrote, whatever the number of files."""
    from safetensors.torch import load_file

    from inference.network.stored import stored_tensors

    stored = {name: t for file in files for name, t in load_file(str(file)).items()}
    for tensor in stored_tensors(model):
        assert tensor.target is not None
        tensor.target.copy_(stored[tensor.name].reshape(tensor.target.shape))


def train_lm(config: LMConfig) -> None:
    ranks = Ranks()
    torch.backends.cudnn.allow_tf32 = True
    codec = load_codec_file(config.codec, ranks.device)
    bank = load_speech(config)
    sys.stderr.write(f"bank: {len(bank.entries)} utterances, {bank.hours:.2f} h\n")
    source = PlanSource(
        bank.entries,
        Path(config.tokenizer),
        config.seed,
        config.fresh,
        config.frames,
        config.workers,
    )
    sound = torch.from_numpy(bank.pcm).to(ranks.device)
    pool = DialoguePool(config.pool, config.frames, ranks.device)
    trainer = LMTrainer(config, codec, ranks.device)
    curves = Curves(Path(config.out), "lm", shown=True)
    run(trainer, pool, source, sound, codec, curves)
    source.stop()
    save_lm(trainer.model, Path(config.out))
    curves.close()
    if config.trials:
        trainer.model.requires_grad_(False)
        out, tokenizer = Path(config.out), Path(config.tokenizer)
        evaluate(
            trainer.model, codec, sound, bank.entries, tokenizer, out, config.trials
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
    config = trainer.config
    spent = {"data": 0.0, "train": 0.0}
    made = saved = 0.0

    def timed(what: str, begin: float) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        spent[what] += time.monotonic() - begin

    def renew() -> None:
        begin = time.monotonic()
        pool.renew(sound, codec, source.next(), trainer.generator)
        timed("data", begin)

    while pool.filled < config.first:
        renew()
        made += config.fresh
    sys.stderr.write(f"pool: {pool.filled} dialogues in {spent['data']:.1f} s\n")
    spent["data"] = 0.0
    trainer.settle(pool)
    while trainer.share < 1.0:
        begin = time.monotonic()
        losses = trainer.train_step(pool)
        timed("train", begin)
        while (
            spent["data"] < config.data_share / (1 - config.data_share) * spent["train"]
        ):
            renew()
            made += config.fresh
        curves.add(trainer.step, trainer.share, losses)
        trainer.step += 1
        if time.monotonic() - saved > config.save_seconds:
            saved = time.monotonic()
            save_lm(trainer.model, Path(config.out))
    told = {"steps": trainer.step, "dialogues": made, **spent}
    sys.stderr.write(json.dumps(told) + "\n")
