"""Lets a model talk to scripted users: many conversations as rows of one batch.

By the model's streaming step and the codec; scores are made elsewhere.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.engine.api import Sampling
from inference.loading.checkpoint import Model
from inference.network.config import FREE, TEXT, USER
from inference.prompts.persona import persona_prompt
from inference.prompts.voice_file import VoicePrompt
from inference.timing import CODEBOOKS, FRAME_SAMPLES, FRAME_SECONDS, STREAMS
from inference.training.corpus.mixing import mix
from inference.training.corpus.plans import USER as USER_CHANNEL
from inference.training.corpus.plans import pieces
from inference.training.corpus.speech_corpus import Entry
from inference.training.evaluation.scripts import Script


@dataclass
class Talk:
    script: Script
    text: NDArray[np.int16]  # [F], the agent's tokens
    pcm: NDArray[np.int16]  # the agent, from the same moment as the user
    user: NDArray[np.int16]
    prompt: Tensor  # [P, dim], summed embeddings of the rows before the talk
    rows: Tensor  # int64 [F, 17]


def user_sound(
    pcm: Tensor, entries: list[Entry], scripts: list[Script], seconds: float
) -> Tensor:
    """float32 [N, samples], as it was recorded, in whole frames."""
    spoken = pieces([s.placements for s in scripts], entries)
    samples = int(seconds / FRAME_SECONDS) * FRAME_SAMPLES
    both = mix(pcm, spoken, len(scripts), 2, samples)
    return both[:, USER_CHANNEL]


@torch.inference_mode()
def talk(
    model: Model,
    scripts: list[Script],
    users: Tensor,
    voices: dict[str, VoicePrompt],
    sampling: Sampling,
    pin: bool = False,
    sounds: bool = True,
) -> list[Talk]:
    """``users`` float32 [N, samples], whole frames; free-running agents. ``pin``: their
    prompts stay in view. ``sounds``: decode them, too."""
    count, frames = len(scripts), users.shape[1] // FRAME_SAMPLES
    device = model.device
    codes = encode(model, users.to(device))
    lm = model.lm
    state, sampler = lm.state(count), lm.sampler(count)
    for row, script in enumerate(scripts):
        prompt = persona_prompt(model, script.persona.role_prompt, voices[script.voice])
        if pin:
            state.ring.pin(row, prompt.frames)
        start = 0
        fed = lm.embed(prompt.rows.to(device))
        for part in (prompt.embeddings, fed):
            if part is not None and len(part):
                lm.prefill(state, row, part.to(device), start)
                start += len(part)
        state.begin(row, prompt.last, prompt.carry)
        sampler.set(
            row,
            seed=sampling.seed * 100_003 + row,
            temperatures=(sampling.temperature_text, sampling.temperature_audio),
            top_k=(sampling.top_k_text, sampling.top_k_audio),
            greedy=False,
        )
    prompts, rows, spoken = [], [], []
    for script in scripts:
        made = persona_prompt(model, script.persona.role_prompt, voices[script.voice])
        fed = lm.embed(torch.cat((made.rows, made.last[None])).to(device))
        voiced = made.embeddings
        whole = fed if voiced is None else torch.cat((voiced.to(device), fed))
        prompts.append(whole)
    frame = torch.full((count, STREAMS), FREE, dtype=torch.int64, device=device)
    for number in range(frames):
        frame[:, USER] = codes[:, :, number]
        step, output = lm.step(state, frame, sampler)
        rows.append(step)
        spoken.append(output[:, 1 : 1 + CODEBOOKS])
    record = torch.stack(rows, 1)  # [N, F, 17]
    text = record[..., TEXT].to(torch.int16).cpu()
    agents = torch.stack(spoken, 2)  # [N, 8, F]
    silent = [np.zeros(0, np.int16)] * count
    pcm = decode(model, agents) if sounds else silent
    heard = (users.clamp(-1, 1) * 32767).to(torch.int16).cpu().numpy()
    return [
        Talk(s, text[i].numpy(), pcm[i], heard[i], prompts[i], record[i])
        for i, s in enumerate(scripts)
    ]


def encode(model: Model, sound: Tensor) -> Tensor:
    """[N, samples] to codes [N, 8, F], one after the other to stay small."""
    parts = [model.mimi.encode(one[None, None]) for one in sound]
    return torch.cat(parts)


def decode(model: Model, codes: Tensor) -> list[NDArray[np.int16]]:
    sounds = [model.mimi.decode(one[None])[0, 0] for one in codes]
    return [(s.clamp(-1, 1) * 32767).to(torch.int16).cpu().numpy() for s in sounds]


def talk_all(
    model: Model,
    scripts: list[Script],
    users: Tensor,
    voices: dict[str, VoicePrompt],
    sampling: Sampling,
    batch: int,
) -> list[Talk]:
    talks: list[Talk] = []
    begin = time.monotonic()
    for first in range(0, len(scripts), batch):
        part = slice(first, first + batch)
        talks += talk(model, scripts[part], users[part], voices, sampling)
        spent = time.monotonic() - begin
        sys.stderr.write(f"talked {len(talks)}/{len(scripts)} in {spent:.0f} s\n")
    return talks
