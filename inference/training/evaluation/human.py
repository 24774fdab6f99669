"""Real people as the user: recordings that packages and the tests bring along.

What they say in words of the domain is to be answered; of the rest the model should say
that it doesn't know, once the speaker has come to an end.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np

from inference.sound_files import as_int16, read_sound
from inference.timing import SAMPLE_RATE
from inference.training.corpus.domain import load_domain
from inference.training.corpus.speech_corpus import Entry, SpeechCorpus
from inference.training.evaluation.scripts import (
    LONG_TURNS,
    WHOLE_TURNS,
    Script,
    Writer,
    numbers_by_voice,
)

LONGEST = 7.0  # seconds; longer recordings are cut
LEVEL = 10 ** (-24 / 20)  # RMS where there is sound


def read_recordings(index: Path) -> SpeechCorpus:
    """``index``: JSON, a list of file, text and voice; of ``begin`` and ``end`` in
    seconds where only a part is meant; of ``part``, first byte and number of bytes,
    where the file holds many recordings. Missing files are named and left out."""
    corpus = SpeechCorpus()
    for item in json.loads(index.read_text()):
        path = Path(item["file"])
        if not path.exists():
            sys.stderr.write(f"no recording {path}: {item.get('package', '')}\n")
            continue
        begin = item.get("begin", 0.0)
        end = min(item.get("end", np.inf), begin + LONGEST)
        sound = read_sound(path, item.get("part"))
        sound = sound[int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        loud = sound[np.abs(sound) > 0.05 * np.abs(sound).max()]
        sound = sound * (LEVEL / np.sqrt(np.mean(loud**2)))
        pcm = as_int16(sound.clip(-0.99, 0.99))
        entry = Entry(item["text"], item["voice"], "test", len(pcm), [], [])
        corpus = corpus.extended([entry], pcm)
    return corpus


def human_scripts(
    corpus: SpeechCorpus, voices: list[str], count: int, seed: int
) -> list[Script]:
    """Each conversation has the recordings of one voice of the index."""
    rng = random.Random(seed)
    domain = load_domain()
    writers = []
    for person, own in numbers_by_voice(corpus.entries).items():
        listens = any(corpus.entries[n].text in domain.backchannels for n in own)
        turns = WHOLE_TURNS if listens else LONG_TURNS
        writers.append(Writer(domain, corpus.entries, person, rng, turns, own))
    return [
        writers[number % len(writers)].draw(voices[number % len(voices)])
        for number in range(count)
    ]
