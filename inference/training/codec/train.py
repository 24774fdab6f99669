"""Trains the codec: reconstruction, then codebooks, then a discriminator.

One command, any number of GPUs (``torchrun``). Phases follow the share of the time
or of the steps that is used up.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.mimi import MIMI_TINY, Mimi
from inference.network.mimi.quantizer import Codebook
from inference.timing import SAMPLE_RATE
from inference.training.codec.config import CodecConfig
from inference.training.codec.data import SpeechPool, draw_clips
from inference.training.codec.discriminators import Discriminator
from inference.training.codec.losses import LineLoss, MelLoss, PhonemeHead
from inference.training.codec.quantise import begin_codebooks, quantise, update
from inference.training.distributed import Ranks
from inference.training.files import load_folders, save_codec
from inference.training.graphs import Step, captured
from inference.training.progress import Curves

DECODING = ("upsample", "decoder")  # names of the half that makes sound
STATEFUL = ("codec", "smooth", "head", "judge", "optimizer", "judge_optimizer")


class CodecTrainer:
    def __init__(self, config: CodecConfig, ranks: Ranks) -> None:
        self.config, self.ranks = config, ranks
        device = ranks.device
        torch.manual_seed(config.seed)
        self.codec = Mimi(MIMI_TINY)
        if config.init:
            from safetensors.torch import load_file

            state = {k: v.float() for k, v in load_file(config.init).items()}
            self.codec.load_state_dict(state)
        else:
            self.codec.init_weights(torch.Generator().manual_seed(config.seed))
        self.codec.to(device)
        self.books = [m for m in self.codec.modules() if isinstance(m, Codebook)]
        for book in self.books:
            book.refresh()
        self.head = PhonemeHead(MIMI_TINY.codebook_dim).to(device)
        self.judge = Discriminator(config.width, config.power).to(device)
        self.judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mel = MelLoss().to(device)
        fine, coarse = MIMI_TINY.ratios[:2]  # of the last two upsamplings
        self.lines = LineLoss(SAMPLE_RATE // (fine * coarse)).to(device)
        self.parameters = self._trained()
        ranks.from_first_([*self.codec.state_dict().values()])
        ranks.from_first_([*self.head.parameters(), *self.judge.parameters()])
        if config.judge:
            state = torch.load(config.judge, map_location=device, weights_only=True)
            self.judge.load_state_dict(state["judge"])
        cuda = device.type == "cuda"
        # Rates are tensors, which a captured step reads each time.
        self.rates = torch.zeros(2, device=device)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            self.rates[0],
            (0.8, 0.99),
            weight_decay=1e-4,
            fused=cuda,
            capturable=cuda,
        )
        self.judge_optimizer = torch.optim.AdamW(
            self.judge.parameters(),
            self.rates[1],
            (0.5, 0.9),
            fused=cuda,
            capturable=cuda,
        )
        self._optimizers = (self.optimizer, self.judge_optimizer)
        self.steps: dict[tuple[bool, bool], Step] = {}  # by phase
        seed = config.seed * 1000 + ranks.rank
        self.generator = torch.Generator(device).manual_seed(seed)
        self.step = 0
        self.begun = time.monotonic()
        self.coded = bool(config.init)
        # What is saved: a mean over the last steps, which sounds better than any one.
        self.smooth = copy.deepcopy(self.codec)
        self.shared: list[Tensor] = [*self.parameters, *self.judge.parameters()]
        if not config.decoder_only:
            for book in self.books:
                self.shared += [book.embedding_sum, book.cluster_usage]

    def _trained(self) -> list[nn.Parameter]:
        codec = self.codec
        parts: list[nn.Module] = [
            codec.upsample,
            codec.decoder_transformer,
            codec.decoder,
        ]
        if not self.config.decoder_only:
            parts += [codec.encoder, codec.encoder_transformer, codec.downsample]
            parts += [codec.quantizer, self.head]
        return [p for part in parts for p in part.parameters()]

    @property
    def share(self) -> float:
        """How much of the run is over, 0 to 1."""
        if self.config.seconds:
            return min((time.monotonic() - self.begun) / self.config.seconds, 1.0)
        return self.step / self.config.steps

    def run(self, pool: SpeechPool, curves: Curves) -> None:
        saved = time.monotonic()
        while self.ranks.agree(self.share < 1.0):
            losses = self.train_step(pool)
            curves.add(self.step, self.share, losses)
            self.step += 1
            if self.step % self.config.apart == 0:
                self._meet()
            if self.ranks.first and time.monotonic() - saved > self.config.save_seconds:
                saved = time.monotonic()
                self.save()
        self._meet()

    def save(self) -> None:
        folder = Path(self.config.out)
        save_codec(self.smooth, folder / "codec.safetensors")
        state = {name: getattr(self, name).state_dict() for name in STATEFUL}
        seconds = time.monotonic() - self.begun
        state |= {"step": self.step, "seconds": seconds, "coded": self.coded}
        state["generator"] = self.generator.get_state()
        torch.save(state, folder / "codec.resume.pt")

    def load(self, path: str) -> None:
        state = torch.load(path, map_location=self.ranks.device, weights_only=True)
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for optimizer, rate in zip(self._optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.step, self.coded = state["step"], state["coded"]
        self.begun = time.monotonic() - state["seconds"]
        self.generator.set_state(state["generator"].cpu())

    @torch.no_grad()
    def _meet(self) -> None:
        """The ranks become equal again, and the mean that is saved follows them."""
        if self.ranks.count > 1:
            self.ranks.average_(self.shared)
            for book in self.books:
                book.refresh_in_place()
        # Soon after the beginning there is little to take the mean of.
        kept = min(self.config.average, (1 + self.step) / (10 + self.step))
        kept **= self.config.apart
        mean, now = self.smooth.state_dict(), self.codec.state_dict()
        for name, value in mean.items():
            if name.startswith(DECODING):
                value.lerp_(now[name], 1 - kept)
            else:  # encoder and codebooks have to fit each other
                value.copy_(now[name])

    def _heat(self, share: float) -> float:
        warm = min(1.0, (self.step + 1) / 100)
        left = (1 - share) / (1 - self.config.cool_from)
        return warm * max(min(1.0, left), 0.01)

    def train_step(self, pool: SpeechPool) -> dict[str, Tensor]:
        config = self.config
        share = self.share
        if not self.coded and self.ranks.agree(share >= config.codebooks_from):
            self._begin_codebooks(pool)
        judged = self.ranks.agree(share >= config.discriminator_from)
        heat = self._heat(share)
        self.rates[0], self.rates[1] = config.rate * heat, config.judge_rate * heat
        inputs = self._draw(pool)
        phase = (self.coded, judged)
        if phase not in self.steps:
            self.steps.clear()  # a phase does not come back, its memory may
            self.steps[phase] = self._step_of(phase, inputs, pool)
        return self.steps[phase](**inputs)

    def _step_of(
        self, phase: tuple[bool, bool], inputs: dict[str, Tensor], pool: SpeechPool
    ) -> Step:
        coded, judged = phase

        def step(sound: Tensor, labels: Tensor, free: Tensor, crop: Tensor) -> Any:
            return self._advance(sound, labels, free, crop, coded, judged)

        if not (self.config.graphs and self.ranks.device.type == "cuda"):
            return step
        with pool.still:
            return captured(step, inputs)

    def _draw(self, pool: SpeechPool) -> dict[str, Tensor]:
        """A batch and what chance decides of it, outside of the captured step."""
        config = self.config
        sound, labels = draw_clips(
            pool,
            config.batch,
            config.frames,
            self.generator,
            not config.decoder_only,
            config.first_share if config.first else 0.0,
        )
        samples = sound.shape[-1]
        length = min(config.crop, samples)
        draw = torch.rand(
            (2, len(sound)), generator=self.generator, device=sound.device
        )
        start = (draw[1] * (samples - length + 1)).long()
        crop = start[:, None] + torch.arange(length, device=sound.device)
        free = draw[0] < config.unquantised
        return {"sound": sound, "labels": labels, "free": free, "crop": crop[:, None]}

    def _advance(
        self,
        sound: Tensor,
        labels: Tensor,
        free: Tensor,
        crop: Tensor,
        coded: bool,
        judged: bool,
    ) -> dict[str, Tensor]:
        config = self.config
        heard, losses, stats = self._reconstruct(sound, labels, free, coded)
        total = config.mel * losses["mel"] + config.wave * losses["wave"]
        total = total + config.commitment * losses["commitment"]
        total = total + config.lines * losses["lines"]
        if not config.decoder_only:
            total = total + config.phonemes * losses["phonemes"]
        if judged:
            seen = sound.gather(2, crop), heard.gather(2, crop)
            total = total + self._adversary(*seen, losses)
        self._descend(total, self.parameters, self.optimizer, losses, "norm")
        if stats and not config.decoder_only:
            losses["dead"] = update(stats)
        return losses

    def _reconstruct(
        self, sound: Tensor, labels: Tensor, free: Tensor, coded: bool
    ) -> tuple[Tensor, dict[str, Tensor], list[Any]]:
        config, codec = self.config, self.codec
        zero = sound.new_zeros(())
        losses = {"commitment": zero, "phonemes": zero}
        stats: list[Any] = []
        half = torch.autocast(sound.device.type, torch.bfloat16)
        with half, torch.set_grad_enabled(not config.decoder_only):
            latent = codec.encode_latent(sound)
        latent = latent.float()
        if coded:
            made = quantise(
                codec.quantizer, latent, None if config.decoder_only else free
            )
            latent, stats = made.latent, made.stats
            losses["commitment"] = made.commitment
            losses["phonemes"] = self.head(made.semantic, labels)
        else:
            first = codec.quantizer.rvq_first
            rest = codec.quantizer.rvq_rest
            plain = first.input_proj(latent)
            losses["phonemes"] = self.head(plain, labels)
            tail = rest.output_proj(rest.input_proj(latent))
            latent = first.output_proj(plain) + tail
        with half:
            x = codec.decoder_transformer(codec.upsample(latent))
        # In bf16 the sound would carry a noise by which any discriminator knows it.
        heard = codec.decoder(x.float())
        losses["mel"] = self.mel(heard, sound)
        losses["wave"] = F.l1_loss(heard, sound) * 10
        losses["lines"] = self.lines(heard, sound)
        return heard, losses, stats

    def _adversary(
        self, sound: Tensor, heard: Tensor, losses: dict[str, Tensor]
    ) -> Tensor:
        config = self.config
        with torch.autocast(sound.device.type, torch.bfloat16):
            judged = self.judge.judge(sound, heard.detach())
        parameters = list(self.judge.parameters())
        self._descend(judged, parameters, self.judge_optimizer, losses, "judge_norm")
        self.judge.requires_grad_(False)
        with torch.autocast(sound.device.type, torch.bfloat16):
            adversarial, distance = self.judge.persuade(sound, heard)
        self.judge.requires_grad_(True)
        losses |= {"judge": judged, "adversarial": adversarial, "features": distance}
        return config.adversarial * adversarial + config.features * distance

    def _descend(
        self,
        loss: Tensor,
        parameters: list[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        losses: dict[str, Tensor],
        name: str,
    ) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        losses[name] = nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()

    @torch.no_grad()
    def _begin_codebooks(self, pool: SpeechPool) -> None:
        latents = []
        for _ in range(8):
            sound, _ = draw_clips(
                pool, self.config.batch, self.config.frames, self.generator
            )
            with torch.autocast(sound.device.type, torch.bfloat16):
                latents.append(self.codec.encode_latent(sound).float())
        begin_codebooks(self.codec.quantizer, torch.cat(latents))
        self.ranks.from_first_(self.codec.quantizer.state_dict().values())
        for book in self.books:
            book.refresh()
        self.coded = True


def train_codec(config: CodecConfig) -> None:
    ranks = Ranks()
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    pool = SpeechPool(ranks.device, config.hours)
    if config.side:
        pool.fill(load_folders(config.archives, config.shards).only(config.side))
    elif config.first:
        corpus = load_folders(config.archives, config.shards)
        pool.fill_in_order(corpus, config.first)
    else:
        if config.archives:
            pool.fill(load_folders(config.archives, ""))
        pool.follow(Path(config.shards), config.min_hours)
    trainer = CodecTrainer(config, ranks)
    if config.resume:
        trainer.load(config.resume)
    curves = Curves(Path(config.out), "codec", shown=ranks.first)
    trainer.run(pool, curves)
    pool.close()
    if ranks.first:
        trainer.save()
    curves.close()
    ranks.close()
