"""From the tokens that a model says to the words of a transcript, and their times."""

import random

import pytest

from conversations.frame_log.reader import FrameLogReader
from conversations.review.transcript import transcript
from inference.engine.api import Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.loading.checkpoint import BUILT_IN
from inference.network.config import EPAD, PAD, TINY
from inference.prompts.tokenizer import CONTROLS, TextStream, Tokenizer
from tests.conversations.logged import write_log
from tests.factories import ConversationFactory
from tests.inference.engine.sessions import opened, speech
from tests.inference.toys import toy_model

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(BUILT_IN / TINY.name / TINY.tokenizer, TINY.text_cardinality)


def words(said):
    """``said``: the piece of each frame. Words with the frames they begin and end at,
    as the transcript has them."""
    conversation = write_log(
        ConversationFactory(),
        range(len(said)),
        pieces=[(frame, piece) for frame, piece in enumerate(said) if piece],
    )
    return [  # a frame's answer is heard after it
        (
            word["text"],
            round(word["start_s"] / 0.08) - 1,
            round(word["end_s"] / 0.08) - 2,
        )
        for stretch in transcript(FrameLogReader(conversation))
        for word in stretch["words"]
    ]


def expected_words(tokenizer, tokens):
    """The same from all bytes at once: each character belongs to the frame of its last
    byte."""
    spoken = [
        (frame, byte)
        for frame, token in enumerate(tokens)
        if tokenizer.is_spoken(token)
        for byte in tokenizer.byte(token) or tokenizer.piece(token).encode()
    ]
    found, start, end, text = [], 0, 0, ""
    sofar, seen = bytearray(), 0
    for frame, byte in spoken:
        sofar.append(byte)
        try:
            character = bytes(sofar[seen:]).decode()
        except UnicodeDecodeError:
            continue
        seen = len(sofar)
        if character.isspace():
            if text:
                found.append((text, start, end))
            text = ""
            continue
        start, end = (start if text else frame), frame
        text += character
    return [*found, (text, start, end)] if text else found


@pytest.mark.parametrize(
    "text",
    [
        "Hello there, how are you today?",
        "Zoë drinks café crème; naïve façade.",
        "日本語で 話して ください。",
        "Emoji 🙂👩‍🚀 and ∑ maths",
        "Ünïcödé at the end é",
    ],
)
def test_words_and_times_are_right_across_pieces_and_bytes(tokenizer, text):
    """Padding falls anywhere, between the bytes of one character too, but for less
    than what parts words."""
    chance = random.Random(text)
    tokens = [PAD] * 3
    for token in tokenizer.encode(text):
        tokens += [token, *[chance.choice((PAD, EPAD))] * chance.choice((0, 0, 1, 2))]
    stream = TextStream(tokenizer)
    found = words([stream.feed(token) for token in tokens])
    assert [word for word, _, _ in found] == text.split()
    assert found == expected_words(tokenizer, tokens)


def test_broken_bytes_and_the_word_after_them_are_two_words(tokenizer):
    """The model may leave a character unfinished; the next word is not its end."""
    first = next(t for t in tokenizer.encode("é") if tokenizer.byte(t))
    tokens = [*tokenizer.encode("so"), first, PAD, *tokenizer.encode("hello")]
    stream = TextStream(tokenizer)
    found = words([stream.feed(token) for token in tokens])
    assert [word for word, _, _ in found] == ["so\ufffd", "hello"]


def test_a_pause_parts_words_that_no_space_parts(tokenizer):
    said = ["日", "本", *[""] * 15, "語"]
    assert words(said) == [("日本", 0, 1), ("語", 17, 17)]


def test_what_an_engine_says_is_what_its_transcript_reads():
    """Random tokens of a random model, half of them parts of broken characters."""
    model = toy_model(context=120)
    engine = Engine(model, 1)
    sampling = Sampling(seed=5, temperature_text=3.0, top_k_text=1000)
    slot = opened(engine, SessionConfig("a", "Talk.", sampling=sampling))
    steps = [engine.step({slot: frame})[slot] for frame in speech(1, 150)]
    tokens = [int(step.tokens[0]) for step in steps]
    spoken = (token for token in tokens if model.tokenizer.is_spoken(token))
    everything = b"".join(
        model.tokenizer.byte(token) or model.tokenizer.piece(token).encode()
        for token in spoken
    )
    text = everything.decode(errors="replace").translate(CONTROLS)
    pieces = [step.piece for step in steps]
    said = "".join(pieces)
    assert said == text[: len(said)] and len(text) - len(said) <= 1
    assert sum(map(bool, pieces)) > 100
    assert [word for word, _, _ in words(pieces)] == said.split()
