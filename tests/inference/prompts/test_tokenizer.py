"""Tokens to live text, and role prompts to tokens."""

import pytest

from inference.errors import RolePromptError
from inference.loading.checkpoint import BUILT_IN
from inference.network.config import BOS, EOS, EPAD, PAD, TINY, ConfigError
from inference.prompts.tokenizer import TextStream, Tokenizer
from inference.training.corpus.domain import load_domain
from inference.training.corpus.utterances import fixed_agent_texts

PATH = BUILT_IN / "tiny" / TINY.tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(PATH, TINY.text_cardinality)


def spoken(tokenizer, tokens):
    stream = TextStream(tokenizer)
    return [stream.feed(token) for token in tokens]


@pytest.mark.parametrize(
    "text",
    [
        "You are a wise and friendly teacher.",
        "Zoë drinks café crème; naïve façade.",
        "日本語で話してください。",
        "Emoji 🙂👩‍🚀 and ∑ maths",
        "tabs\tand\nlines",
        "~`@#$%^&*()_+-=[]{}|;':\",./<>?",
    ],
)
def test_any_text_survives_encoding_and_speaking(tokenizer, text):
    pieces = spoken(tokenizer, tokenizer.encode(text))
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces).split() == text.split()


def test_a_character_is_spoken_when_its_last_byte_comes(tokenizer):
    tokens = [token for token in tokenizer.encode("é") if tokenizer.byte(token)]
    assert len(tokens) == 2
    assert spoken(tokenizer, tokens) == ["", "é"]
    assert spoken(tokenizer, [tokens[0], PAD, EPAD, PAD, tokens[1]])[-1] == "é"


def test_bytes_that_never_become_a_character_are_marked(tokenizer):
    first = next(t for t in tokenizer.encode("é") if tokenizer.byte(t))
    (word,) = tokenizer.encode("hello")[:1]
    pieces = spoken(tokenizer, [first, word, word])
    assert pieces[1] == "\ufffd" + tokenizer.piece(word)
    assert pieces[2] == tokenizer.piece(word)


def test_padding_and_control_tokens_say_nothing(tokenizer):
    assert spoken(tokenizer, [EPAD, BOS, EOS, PAD]) == ["", "", "", ""]


def test_control_characters_are_left_out(tokenizer):
    tokens = {tokenizer.byte(t): t for t in range(1000) if tokenizer.byte(t)}
    assert spoken(tokenizer, [tokens[b"\0"], tokens[b"\x1b"]]) == ["", ""]
    assert spoken(tokenizer, [tokens[b"\n"]]) == ["\n"]


def test_a_leading_space_starts_a_word(tokenizer):
    pieces = spoken(tokenizer, tokenizer.encode("hello there"))
    assert pieces[0].startswith(" ")
    assert "".join(pieces) == " hello there"


def test_text_that_is_no_text_is_refused(tokenizer):
    with pytest.raises(RolePromptError, match="can't be encoded"):
        tokenizer.encode("half a character: \ud83d")


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    path = tmp_path / "tokenizer.model"
    for content in (b"", b"junk" * 100, PATH.read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(ConfigError):
            Tokenizer(path, TINY.text_cardinality)
    with pytest.raises(ConfigError):
        Tokenizer(tmp_path / "absent.model", TINY.text_cardinality)


def test_a_tokenizer_of_another_size_is_refused():
    with pytest.raises(ConfigError, match="1000 pieces"):
        Tokenizer(PATH, 32_000)


def test_what_the_small_model_says_needs_few_tokens(tokenizer):
    texts = fixed_agent_texts(load_domain())
    ids = [token for text in texts for token in tokenizer.encode(text)]
    assert len(ids) < 2.5 * sum(len(text.split()) for text in texts)
    assert all(tokenizer.byte(token) is None for token in ids)
