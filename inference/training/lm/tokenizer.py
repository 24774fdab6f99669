"""The text tokenizer of the small model, trained on what the domain can say."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from inference.training.corpus.domain import load_domain
from inference.training.corpus.personas import MARK, draw_persona
from inference.training.corpus.utterances import (
    fact_texts,
    fixed_agent_texts,
    held_out_texts,
    user_texts,
)


@dataclass(frozen=True)
class TokenizerConfig:
    out: str
    seed: int = 1
    pieces: int = 1000


def corpus(seed: int, prompts: int) -> list[str]:
    domain, rng = load_domain(), random.Random(seed)
    spoken = fixed_agent_texts(domain) + fact_texts(domain) + user_texts(domain)
    spoken += held_out_texts(domain)
    return spoken * 5 + [draw_persona(domain, rng).role_prompt for _ in range(prompts)]


def train_tokenizer(config: TokenizerConfig) -> None:
    """Ids 0 to 3 are unknown, begin, end and padding; any other text goes by bytes."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus(config.seed, 4000)),
        model_writer=model,
        vocab_size=config.pieces,
        model_type="unigram",
        byte_fallback=True,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        split_digits=True,
        user_defined_symbols=[MARK],
        hard_vocab_limit=True,
        minloglevel=2,
    )
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(model.getvalue())
