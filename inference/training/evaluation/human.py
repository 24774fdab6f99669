"""Real people as the user: recordings that packages and the tests bring along.

Greetings, thanks and one question for the name are what the model knows of them; of
the rest it should say that it doesn't know, once the speaker has come to an end.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np

from inference.sound_files import as_int16, read_sound
from inference.timing import SAMPLE_RATE
from inference.training.bank import Bank, Entry
from inference.training.domain import load_domain
from inference.training.evaluation.scripts import (
    HUMAN_SECONDS,
    HUMAN_TURNS,
    Script,
    Writer,
)

LONGEST = 7.0  # seconds; longer recordings are cut
LEVEL = 10 ** (-24 / 20)  # RMS where there is sound


def read_recordings(index: Path) -> Bank:
    """``index``: JSON, a list of file, text and voice, and of ``begin`` and ``end`` in
    seconds where only a part is meant. Missing files are named and left out."""
    bank = Bank()
    for item in json.loads(index.read_text()):
        path = Path(item["file"])
        if not path.exists():
            sys.stderr.write(f"no recording {path}: {item.get('package', '')}\n")
            continue
        begin = item.get("begin", 0.0)
        end = min(item.get("end", np.inf), begin + LONGEST)
        sound = read_sound(path)[int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        loud = sound[np.abs(sound) > 0.05 * np.abs(sound).max()]
        sound = sound * (LEVEL / np.sqrt(np.mean(loud**2)))
        pcm = as_int16(sound.clip(-0.99, 0.99))
        entry = Entry(item["text"], item["voice"], "test", len(pcm), [], [])
        bank = bank.extended([entry], pcm)
    return bank


def asked_facts(index: Path) -> dict[str, str]:
    """By text, the fact that is asked for in words which the domain doesn't list."""
    items = json.loads(index.read_text())
    return {item["text"]: item["fact"] for item in items if "fact" in item}


def human_scripts(
    bank: Bank, voices: list[str], count: int, seed: int, facts: dict[str, str]
) -> list[Script]:
    """Each conversation has one person's recordings; ``facts``: of ``asked_facts``."""
    rng = random.Random(seed)
    domain = load_domain()
    people = sorted({entry.voice for entry in bank.entries})
    scripts = []
    for number in range(count):
        person = people[number % len(people)]
        own = [n for n, e in enumerate(bank.entries) if e.voice == person]
        entries = [bank.entries[n] for n in own]
        writer = Writer(domain, entries, "people", rng, HUMAN_TURNS, HUMAN_SECONDS)
        for text, fact in facts.items():
            writer.intents[text] = (domain.facts[fact], "unheard")
        script = writer.draw(voices[number % len(voices)])
        for placement in script.placements:
            placement.entry = own[placement.entry]
        scripts.append(script)
    return scripts
