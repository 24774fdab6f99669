"""Pool entries to rows of the timeline, with the prompt frames of inference.

Must not depend on sound or a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.loading.filler_codes import find_filler_codes
from inference.network.config import AGENT, PAD, TEXT, TINY, USER
from inference.network.mimi import Mimi
from inference.timing import CODEBOOKS, STREAMS
from inference.training.corpus.dialogues import NOTHING
from inference.training.corpus.mixing import DialoguePool
from inference.training.corpus.plans import VARIANTS
from inference.training.lm.config import LMConfig

LATEST = 0.25  # of a dialogue, where a sequence that begins later begins
FARTHEST = 20_000  # positions between a pinned prompt and the window


@dataclass
class Batch:
    rows: Tensor  # int64 [B, L, 17]
    wanted: Tensor  # the same, but silence where the agent should not speak on
    position: Tensor  # int64 [B, L]
    free: Tensor  # bool [B, L], rows whose text the model chooses
    near: Tensor  # bool [B, L], the agent speaks or might
    alert: Tensor  # bool [B, L], the user has just begun to speak over the agent
    heard: Tensor  # int64 [B, L]
    changed: Tensor  # bool [B, L], sound and text differ: no sound to learn


class Assembler:
    """Pool entries to rows of the timeline, with the prompt frames of inference."""

    def __init__(self, config: LMConfig, codec: Mimi, device: torch.device) -> None:
        filler = find_filler_codes(TINY, codec)
        self.config = config
        self.silence = filler.silence.to(device)
        self.sine = filler.sine.to(device)
        self.stopped = F.pad(self.silence, (1, 0), value=PAD)  # text and agent's codes
        delays = torch.tensor(TINY.delays, device=device)
        self.start = torch.full((STREAMS,), TINY.audio_start, device=device)
        self.start[TEXT] = TINY.text_start
        self.delayed = delays > 0

    def draw(self, pool: DialoguePool, generator: torch.Generator) -> Batch:
        """Most sequences are a conversation's first minute. Some begin later, as the
        window looks when it has slid: with the prompt pinned, so that it lies far
        back, or without it, and then without the answers that need it."""
        config = self.config
        device = pool.agent.device
        count = config.batch

        def uniform() -> Tensor:
            return torch.rand(count, generator=generator, device=device)

        pick = torch.randint(pool.filled, (count,), generator=generator, device=device)
        draw, late = uniform(), uniform()
        pinned = late < config.pinned
        slid = (late >= config.pinned) & (late < config.pinned + config.slid)
        other = (draw / max(config.varied, 1e-6) * (VARIANTS - 1)).long() + 1
        variant = torch.where(draw < config.varied, other.clamp(max=VARIANTS - 1), 0)
        variant = torch.where(slid, (draw * (VARIANTS - 1)).long() + 1, variant)
        voiced = pool.voice_frames[pick].long()[:, None]
        tokens = pool.prompt_tokens[pick, variant].long()[:, None]
        prompt = torch.where(slid[:, None], -1, voiced + 12 + tokens)
        cut = (uniform() * LATEST * pool.frames).long() * (pinned | slid)
        at = torch.arange(config.length, device=device)[None]
        here = at - prompt
        begun = here >= 0
        here = here + cut[:, None]
        talking = begun & (here < pool.frames)
        index = here.clamp(0, pool.frames - 1)
        away = torch.exp(uniform() * math.log(FARTHEST)).long() * pinned
        position = at + begun * away[:, None]

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
            count, config.length, STREAMS, dtype=torch.int64, device=device
        )
        spoken = torch.where(reading, said, PAD)
        frames[..., TEXT] = torch.where(talking, track(pool.text), spoken)
        voice = codes(
            pool.voice, at.clamp(max=pool.voice.shape[2] - 1).expand(count, -1)
        )
        quiet = torch.where((at < voiced)[..., None], voice, self.silence)
        frames[..., AGENT] = torch.where(
            talking[..., None], codes(pool.agent, index), quiet
        )
        frames[..., USER] = torch.where(
            talking[..., None], codes(pool.user, index), self.sine
        )
        rows = self._delay(frames, slid)
        halt = (talking & (track(pool.halt) > 0))[..., None]
        frames[..., TEXT : USER.start] = torch.where(
            halt, self.stopped, frames[..., TEXT : USER.start]
        )
        wanted = self._delay(frames, slid)
        heard = torch.where(talking, track(pool.heard), NOTHING)
        changed = talking & (track(pool.changed) > 0)
        free = talking & ~(changed & slid[:, None])
        near = track(pool.near) > 0
        alert = talking & (track(pool.alert) > 0)
        return Batch(rows, wanted, position, free, near, alert, heard, changed)

    def _delay(self, frames: Tensor, slid: Tensor) -> Tensor:
        """Frames to rows [B, L, 17]: acoustic codes one row later."""
        rows = frames.clone()
        rows[:, 1:, self.delayed] = frames[:, :-1, self.delayed]
        begin = torch.where(slid[:, None], rows[:, 0], self.start)
        rows[:, 0] = begin
        begin = torch.where(slid[:, None], rows[:, 1], self.start)
        rows[:, 1, self.delayed] = begin[:, self.delayed]
        return rows
