"""Trains the small model's tokenizer: ``python -m inference.training.tokenizer``.

Owns the text it is trained on, english.txt and words.txt beside it. The result is
committed; same text, same tokenizer.
"""

from __future__ import annotations

from pathlib import Path

import sentencepiece

from inference.network.config import BOS, EOS, EPAD, PAD, TINY

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "weights" / TINY.name
PROMPT_MARK = "<system>"  # around role prompts
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


def corpus() -> list[str]:
    """Sentences count for more than the words that widen their vocabulary."""
    sentences = (HERE / "english.txt").read_text().splitlines()
    words = sorted(set((HERE / "words.txt").read_text().split()))
    named = [f"{word.capitalize()}, {word}." for word in words]
    return sentences * 5 + words + named


def train(target: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_prefix=str(target.with_suffix("")),
        model_type="bpe",
        vocab_size=TINY.text_cardinality,
        byte_fallback=True,  # any text can be encoded
        required_chars=PRINTABLE,
        character_coverage=1.0,
        unk_id=EPAD,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=PAD,
        user_defined_symbols=[PROMPT_MARK],
        num_threads=1,
        minloglevel=2,
    )
    target.with_suffix(".vocab").unlink()


if __name__ == "__main__":
    train(WEIGHTS / TINY.tokenizer)
