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
    """``pcm`` int16, as long as the user's; ``tokens`` uint16 [17, frames]: the steps'
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
) -> Talk:
    """The user's sound, [n] at 24 kHz, is cut into frames, the last one filled with
    silence. The agent's is one frame behind (spec 8.1) and cut to the same length.
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
        for done, frame in enumerate(padded, 1):
            step = engine.step({slot: frame})[slot]
            records.append(step.tokens)
            sounds.append(step.pcm)
            progress(done)
    finally:
        engine.close(slot)
    tokens = np.stack(records, axis=1)
    pcm = np.concatenate(sounds)[: len(user)]
    return Talk(pcm, tokens, _texts(engine.model.tokenizer, tokens[TEXT]))


def _texts(tokenizer: Tokenizer, chosen: NDArray[np.uint16]) -> list[str]:
    """A step completes the row that the next step speaks: the first agent frame is
    the prompt's last, and that is padding."""
    spoken = [PAD, *chosen[:-1].tolist()]
    return [NAMES.get(token) or tokenizer.piece(token) for token in spoken]
