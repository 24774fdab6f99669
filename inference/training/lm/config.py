"""The settings of a language model's training."""

from __future__ import annotations

from dataclasses import dataclass


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
    batch: int = 32  # sequences per GPU
    length: int = 1000  # rows of a sequence, the persona prompt among them
    frames: int = 920  # of a dialogue
    pool: int = 12_288
    first: int = 384  # dialogues to begin with
    fresh: int = 16  # new dialogues of each GPU each time
    data_share: float = 0.45  # of the time that may go into new dialogues
    workers: int = 10  # that plan dialogues, per GPU
    rate: float = 1.5e-3
    warm: int = 150
    cool_from: float = 0.6
    decay: float = 0.05
    compiled: bool = True
    depth_rows: float = 0.3  # of all rows, the ones that the depth transformer learns
    varied: float = 0.6  # dialogues whose facts are others than the sound's
    pinned: float = 0.2  # sequences whose prompt lies far back
    slid: float = 0.08  # sequences without their prompt
    pad_weight: float = 0.3
    alert_weight: float = 3.0  # of rows in which the agent stops or doesn't
    fact_weight: float = 1.0  # more, of the text of answers with a changed fact
    heard_weight: float = 0.4
    user_noise: float = 0.06  # of the user's codes, on average; each dialogue differs
    agent_noise: float = 0.02
    init: str = ""  # folder of a language model's weights to begin with
    save_seconds: float = 90.0
    trials: int = 0  # conversations of each kind after the training
