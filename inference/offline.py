"""A recorded user and the agent's answer to them, without a clock: the offline
evaluation of the reference (spec section 12), run by the engine that serves.

Must not depend on a command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.engine.api import SessionConfig
from inference.engine.engine import Engine
from inference.network.config import EPAD, PAD, TEXT
from inference.prompts.tokenizer import Tokenizer
from inference.timing import FRAME_SAMPLES

NAMES = {EPAD: "EPAD", PAD: "PAD"}


@dataclass(frozen=True)
class Talk:
    """``pcm`` int16, as long as the user's; ``tokens`` uint16 [17, frames]: the frames'
    own record (FrameResult.tokens), from which every row can be rebuilt; ``texts``: of
    each agent frame its text token."""

    pcm: NDArray[np.int16]
    tokens: NDArray[np.uint16]
    texts: list[str]

    def texts_json(self) -> str:
        return json.dumps(self.texts, ensure_ascii=False)


def talk(
    engine: Engine,
    config: SessionConfig,
    user: NDArray[np.int16],
    progress: Callable[[int], None] = lambda frames: None,
    *,
    as_reference: bool = False,
) -> Talk:
    """The user's sound, [n] at 24 kHz, is cut into frames, the last one filled with
    silence. Frame n of the agent's is the answer to the user's frames up to n, and all
    is cut to the same length. ``as_reference``: a frame later, after the last agent
    frame of the prompt, as the reference writes it (spec 8.1, 12).
    ``progress`` gets the frames done, 0 once the persona prompt is in."""
    frames = -(-len(user) // FRAME_SAMPLES)
    padded = np.zeros((frames, FRAME_SAMPLES), dtype=np.int16)
    padded.reshape(-1)[: len(user)] = user
    slot = engine.open(config)
    records, sounds = [], []
    try:
        while engine.prime(slot):
            pass
        progress(0)
        opening = engine.opening(slot)
        for done, frame in enumerate(padded, 1):
            step = engine.step({slot: frame})[slot]
            records.append(step.tokens)
            sounds.append(step.pcm)
            progress(done)
    finally:
        engine.close(slot)
    tokens = np.stack(records, axis=1)
    spoken = tokens[TEXT].tolist()
    if as_reference:
        sounds, spoken = [opening, *sounds[:-1]], [PAD, *spoken[:-1]]
    pcm = np.concatenate(sounds)[: len(user)]
    return Talk(pcm, tokens, _texts(engine.model.tokenizer, spoken))


def _texts(tokenizer: Tokenizer, tokens: list[int]) -> list[str]:
    return [NAMES.get(token) or tokenizer.piece(token) for token in tokens]
