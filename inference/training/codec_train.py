"""Trains the codec: reconstruction, then codebooks, then a discriminator.

One command, any number of GPUs (``torchrun``). Phases follow the share of the time
or of the steps that is used up. Knows the Mimi network and the clips.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.mimi import MIMI_TINY, Mimi
from inference.network.mimi.quantizer import Codebook
from inference.training.bank import Bank, ShardReader, read_archive
from inference.training.codec_data import SYMBOLS, SpeechPool, draw_clips
from inference.training.codec_losses import Discriminator, MelLoss
from inference.training.codec_quantise import begin_codebooks, quantise, update
from inference.training.progress import Curves
from inference.training.ranks import Ranks

STATEFUL = ("codec", "head", "judge", "optimizer", "judge_optimizer")


@dataclass(frozen=True)
class CodecConfig:
    shards: str  # folder of speech, may still be filling
    out: str
    seed: int = 1
    steps: int = 0  # one of steps and seconds decides
    seconds: float = 0.0
    batch: int = 24  # clips per GPU
    frames: int = 24  # of each clip
    hours: float = 7.0  # room for speech on the device
    least_hours: float = 0.1  # speech to wait for
    rate: float = 8e-4
    width: int = 32  # of the discriminator
    codebooks_from: float = 0.04  # shares of the run
    discriminator_from: float = 0.25
    cool_from: float = 0.55
    unquantised: float = 0.1
    mel: float = 15.0
    wave: float = 1.0
    commitment: float = 0.5
    phonemes: float = 1.0
    adversarial: float = 1.0
    features: float = 4.0
    init: str = ""  # a codec's weights to begin with
    resume: str = ""  # a run's state to go on from
    save_seconds: float = 60.0
    decoder_only: bool = False  # tokens stay as they are
    archives: str = ""  # folders of speech archives, by commas
    side: str = ""  # learn only from the agents' speech, say


class PhonemeHead(nn.Module):
    """Says from the first codebook which phonemes a frame holds: makes it semantic.
    Trained beside the codec, not part of it."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inner, 256), nn.GELU(), nn.Linear(256, SYMBOLS)
        )

    def forward(self, semantic: Tensor, labels: Tensor) -> Tensor:
        logits = self.layers(semantic.transpose(1, 2)).float().log_softmax(-1)
        return -logits.gather(2, labels.long()).mean()


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
        for module in self.codec.quantizer.modules():
            if isinstance(module, Codebook):
                module.refresh()
        self.head = PhonemeHead(MIMI_TINY.codebook_dim).to(device)
        self.judge = Discriminator(config.width).to(device)
        self.judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mel = MelLoss().to(device)
        self.parameters = self._trained()
        ranks.from_first_([*self.codec.state_dict().values()])
        ranks.from_first_([*self.head.parameters(), *self.judge.parameters()])
        fused = device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self.parameters, config.rate, (0.8, 0.99), weight_decay=1e-4, fused=fused
        )
        self.judge_optimizer = torch.optim.AdamW(
            self.judge.parameters(), 3e-4, (0.5, 0.9), fused=fused
        )
        seed = config.seed * 1000 + ranks.rank
        self.generator = torch.Generator(device).manual_seed(seed)
        self.step = 0
        self.begun = time.monotonic()
        self.coded = bool(config.init)

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
            if self.ranks.first and time.monotonic() - saved > self.config.save_seconds:
                saved = time.monotonic()
                self.save()

    def save(self) -> None:
        folder = Path(self.config.out)
        save_codec(self.codec, folder / "codec.safetensors")
        state = {name: getattr(self, name).state_dict() for name in STATEFUL}
        seconds = time.monotonic() - self.begun
        state |= {"step": self.step, "seconds": seconds, "coded": self.coded}
        state["generator"] = self.generator.get_state()
        torch.save(state, folder / "codec.resume.pt")

    def load(self, path: str) -> None:
        state = torch.load(path, map_location=self.ranks.device, weights_only=True)
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.coded = state["step"], state["coded"]
        self.begun = time.monotonic() - state["seconds"]
        self.generator.set_state(state["generator"].cpu())

    def _heat(self, share: float) -> float:
        warm = min(1.0, (self.step + 1) / 100)
        left = (1 - share) / (1 - self.config.cool_from)
        return warm * max(min(1.0, left), 0.01)

    def train_step(self, pool: SpeechPool) -> dict[str, Tensor]:
        config = self.config
        share = self.share
        if not self.coded and self.ranks.agree(share >= config.codebooks_from):
            self._begin_codebooks(pool)
        sound, labels = draw_clips(pool, config.batch, config.frames, self.generator)
        heard, losses, stats = self._reconstruct(sound, labels)
        total = config.mel * losses["mel"] + config.wave * losses["wave"]
        total = total + config.commitment * losses["commitment"]
        if not config.decoder_only:
            total = total + config.phonemes * losses["phonemes"]
        heat = self._heat(share)
        if self.ranks.agree(share >= config.discriminator_from):
            total = total + self._adversary(sound, heard, losses, heat)
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate * heat
        self._descend(total, self.parameters, self.optimizer, losses, "norm")
        if stats and not config.decoder_only:
            losses["dead"] = update(stats, self.ranks, self.step)
        return losses

    def _reconstruct(
        self, sound: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], list[Any]]:
        config, codec = self.config, self.codec
        zero = sound.new_zeros(())
        losses = {"commitment": zero, "phonemes": zero}
        stats: list[Any] = []
        with torch.autocast(sound.device.type, torch.bfloat16):
            with torch.set_grad_enabled(not config.decoder_only):
                latent = codec.encode_latent(sound)
            with torch.autocast(sound.device.type, enabled=False):
                latent = latent.float()
                if self.coded:
                    free = torch.rand(
                        len(sound), generator=self.generator, device=sound.device
                    )
                    mask = None if config.decoder_only else free < config.unquantised
                    made = quantise(codec.quantizer, latent, mask)
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
            heard = codec.decode_latent(latent)
        heard = heard.float()
        losses["mel"] = self.mel(heard, sound)
        losses["wave"] = F.l1_loss(heard, sound) * 10
        return heard, losses, stats

    def _adversary(
        self, sound: Tensor, heard: Tensor, losses: dict[str, Tensor], heat: float
    ) -> Tensor:
        config = self.config
        with torch.autocast(sound.device.type, torch.bfloat16):
            judged = self.judge.judge(sound, heard.detach())
        for group in self.judge_optimizer.param_groups:
            group["lr"] = 3e-4 * heat
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
        self.ranks.average_gradients(parameters)
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
        for module in self.codec.quantizer.modules():
            if isinstance(module, Codebook):
                module.refresh()
        self.coded = True


def save_codec(codec: Mimi, path: Path) -> None:
    """Half precision; what is saved is what everything later is trained on."""
    from safetensors.torch import save_file

    state = {}
    for name, value in codec.state_dict().items():
        # Codebook sums outgrow fp16: their quotient is stored, with a usage of 1.
        state[name] = value.detach().cpu()
    for name in [n for n in state if n.endswith("embedding_sum")]:
        usage = name.replace("embedding_sum", "cluster_usage")
        state[name] = state[name] / state[usage].clamp(min=1e-5)[:, None]
        state[usage] = torch.ones_like(state[usage])
    halves = {k: v.to(torch.float16).contiguous() for k, v in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, str(path))


def train_codec(config: CodecConfig) -> None:
    ranks = Ranks()
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    pool = SpeechPool(ranks.device, config.hours)
    for folder in filter(None, config.archives.split(",")):
        bank = read_archive(sorted(Path(folder).glob("speech-*.bin")))
        pool.fill(bank.only(config.side) if config.side else bank)
    if config.side:
        complete = ShardReader(Path(config.shards)).update(Bank())
        pool.fill(complete.only(config.side))
    else:
        pool.follow(Path(config.shards), config.least_hours)
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
