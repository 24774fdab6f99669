"""Real people as the user: recordings that packages and the tests bring along.

Nobody asks the model's questions in them, but for greetings and thanks; of the rest
the model should say that it doesn't know, once the speaker has come to an end.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np

from inference.sound_files import as_int16, read_sound
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
    """``index``: JSON, a list of file, text and voice. Missing files are named and
    left out."""
    bank = Bank()
    for item in json.loads(index.read_text()):
        path = Path(item["file"])
        if not path.exists():
            sys.stderr.write(f"no recording {path}: {item.get('package', '')}\n")
            continue
        sound = read_sound(path)[: int(LONGEST * 24_000)]
        loud = sound[np.abs(sound) > 0.05 * np.abs(sound).max()]
        sound = sound * (LEVEL / np.sqrt(np.mean(loud**2)))
        pcm = as_int16(sound.clip(-0.99, 0.99))
        entry = Entry(item["text"], item["voice"], "test", len(pcm), [], [])
        bank = bank.extended([entry], pcm)
    return bank


def human_scripts(bank: Bank, voices: list[str], count: int, seed: int) -> list[Script]:
    """Each conversation has one person's recordings."""
    rng = random.Random(seed)
    people = sorted({entry.voice for entry in bank.entries})
    scripts = []
    for number in range(count):
        person = people[number % len(people)]
        own = [n for n, e in enumerate(bank.entries) if e.voice == person]
        entries = [bank.entries[n] for n in own]
        writer = Writer(
            load_domain(), entries, "people", rng, HUMAN_TURNS, HUMAN_SECONDS
        )
        script = writer.draw(voices[number % len(voices)])
        for placement in script.placements:
            placement.entry = own[placement.entry]
        scripts.append(script)
    return scripts
