"""The evaluation's figures, on conversations made by hand."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.network.config import TINY
from inference.network.lm import LanguageModel
from inference.sound_files import read_sound
from inference.training.corpus.domain import load_domain
from inference.training.corpus.speech_corpus import Entry
from inference.training.corpus.utterances import (
    further_texts,
    held_out_texts,
    user_texts,
)
from inference.training.evaluation.evaluators import Word
from inference.training.evaluation.formats import (
    compare,
    read,
    round_cache,
    rounded,
    with_weights,
)
from inference.training.evaluation.human import human_scripts, read_recordings
from inference.training.evaluation.measures import Heard, Table, measure, takes_turn
from inference.training.evaluation.report import figures_of, markdown
from inference.training.evaluation.scripts import (
    OPENING_TURNS,
    PAUSE,
    TURNS,
    Writer,
)
from inference.training.evaluation.words import errors, plain

RECORDING = Path(__file__).parents[2] / "data" / "librivox_female.flac"


@pytest.fixture(scope="module")
def domain():
    return load_domain()


@pytest.fixture(scope="module")
def script(domain):
    entries = []
    for text in [*user_texts(domain), *held_out_texts(domain)]:
        count = len(text.split())
        words = [(0.3 * i, 0.3 * i + 0.25) for i in range(count)]
        entries.append(Entry(text, "somebody", "test", 7200 * count, words, []))
    return Writer(domain, entries, "made", random.Random(3)).draw("NATF0")


def spoken(text: str, begin: float) -> list[Word]:
    words = text.split()
    begins = [begin + 0.2 * number for number in range(len(words))]
    return [Word(word, at, at + 0.15) for word, at in zip(words, begins, strict=True)]


def perfect(script) -> Heard:
    """Answers everything rightly, 0.3 s after the question, and stops at once."""
    heard = Heard(script, [], [], [])
    for question in script.questions:
        begin = question.end + 0.3
        words = spoken(f"I can say that {question.expected[0]}", begin)
        if question.kind == "interruption":
            words = [w for w in words if w.begin < question.extra[0]]
            end = question.extra[0] + 0.2
        else:
            end = words[-1].end
        heard.tokens += [(w.begin, " " + w.text) for w in words]
        heard.words += words
        heard.agent.append((begin, end))
    return heard


def figures(heard: Heard) -> dict[str, float]:
    table = Table()
    measure(heard, table)
    return {name: figure["value"] for name, figure in figures_of(table).items()}


def test_numbers_are_spelled_as_they_are_said():
    assert plain("It's $25, 9 to 5!") == "its twenty five dollars nine to five"
    assert (
        plain("15% off, on the 2nd floor") == "fifteen percent off on the second floor"
    )
    assert errors("We are open from nine to five.", "We're open from 9 to 5") == (2, 7)
    assert errors("Mm-hm. My name is Anna.", "Mhmm, my name is Anna.") == (0, 4)


def test_a_short_word_takes_no_turn():
    assert not takes_turn([])
    assert not takes_turn(spoken("Mm hm", 1.0))
    assert takes_turn(spoken("I am glad to hear that", 1.0))


def test_a_script_pauses_backchannels_and_interrupts(script):
    kinds = [question.kind for question in script.questions]
    assert kinds == [*(kind for kind, _ in TURNS), "interrupting"]
    paused = script.questions[2]
    if paused.gap != (0.0, 0.0):
        assert paused.gap[1] - paused.gap[0] == pytest.approx(PAUSE)
    assert all(
        q.expected and q.until > q.end for q in script.questions if q.extra == (0, 0)
    )


def test_a_perfect_agent_gets_perfect_figures(script):
    found = figures(perfect(script))
    assert found["right: all"] == found["turn-taking: takeover"] == 1
    assert found["turn-taking: latency, median s"] == pytest.approx(0.3)
    assert found["interruption: silent within 0.5 s"] == 1
    assert found["backchannel: keeps talking"] == 1
    assert found["words: errors against its own text"] == 0


def test_an_agent_that_talks_on_gets_others(script):
    heard = perfect(script)
    heard.tokens = [(at, " nonsense") for at, _ in heard.tokens]
    heard.agent = [(0.0, 42.0)]
    found = figures(heard)
    assert found["right: all"] == 0
    assert found["interruption: silent within 0.5 s"] == 0
    assert found["words: errors against its own text"] > 0.9


def test_a_promised_question_is_waited_for_with_a_backchannel(domain):
    texts = [*user_texts(domain), *held_out_texts(domain)]
    entries = [Entry(text, "somebody", "test", 7200, [], []) for text in texts]
    writer = Writer(domain, entries, "made", random.Random(3), OPENING_TURNS)
    script = writer.draw("NATF0")
    assert [q.kind for q in script.questions] == ["opening"] * 3
    first, _, third = script.questions
    assert first.begin == first.gap[1] > first.gap[0] + 1
    heard = perfect(script)
    heard.agent.append((first.gap[0] + 0.3, first.gap[0] + 0.7))
    heard.words += spoken("Mm-hm.", first.gap[0] + 0.3)
    heard.agent.append((third.gap[0] + 0.3, third.gap[0] + 1.4))
    heard.words += spoken("I am sorry, I don't know.", third.gap[0] + 0.3)
    heard.words.sort(key=lambda word: word.begin)
    heard.agent.sort()
    table = Table()
    measure(heard, table)
    assert table.values["opening: gives a backchannel"] == [1, 0, 0]
    assert table.values["opening: takes the turn (rule R)"] == [0, 0, 1]
    assert table.values["right: opening turn"] == [1, 1, 1]


def test_the_table_names_every_n(script):
    table = Table()
    measure(perfect(script), table)
    text = markdown({"all": figures_of(table), "none": {}})
    assert "| right: all | 1 (n = 5) | – |" in text
    assert json.dumps(figures_of(table))


def test_more_wordings_are_none_of_the_held_out_ones(domain):
    more = further_texts(domain)
    assert len(more) > 500
    assert not set(more) & set(held_out_texts(domain))


def test_a_part_of_a_recording_can_ask_for_the_name(tmp_path):
    many = tmp_path / "many"
    many.write_bytes(b"others" + RECORDING.read_bytes() + RECORDING.read_bytes())
    part = {"file": str(many), "part": [6, RECORDING.stat().st_size]}
    part |= {"begin": 1.0, "end": 2.5, "voice": "somebody"}
    index = tmp_path / "people.json"
    asking = part | {"text": "Please say your name."}
    missing = part | {"text": "Hello.", "file": str(tmp_path / "missing.wav")}
    index.write_text(json.dumps([asking, missing]))
    corpus = read_recordings(index)
    assert [entry.samples for entry in corpus.entries] == [36_000]
    whole = read_sound(RECORDING)[24_000:60_000]
    assert np.corrcoef(whole, corpus.pcm)[0, 1] > 0.999
    [script] = human_scripts(corpus, ["NATF0"], 1, 1)
    name = script.persona.facts["name"]
    assert all(question.expected == [name] for question in script.questions)


def test_fewer_bits_cost_more(domain):
    lm = LanguageModel(TINY, torch.float32, "cpu", torch.float32)
    lm.init_weights(torch.Generator().manual_seed(3))
    matrix = lm.temporal.layers[0].linear_out.detach()
    far = {
        f: float((rounded(matrix, f) - matrix).norm()) for f in ("bf16", "int8", "int4")
    }
    assert 0 < far["bf16"] < far["int8"] < far["int4"] < float(matrix.norm()) / 5
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(4, 400, (30, 17), generator=generator)
    prompt = lm.embed(rows[:10])
    truth = read(lm, prompt, rows[10:])
    assert compare(truth, read(lm, prompt, rows[10:]), rows[10:])["same code"] == 1
    other = with_weights(lm, "int4")
    round_cache(other, "int8")
    found = compare(truth, read(other, prompt, rows[10:]), rows[10:])
    assert 0.2 < found["same code"] < 1
