"""Runs the evaluators over talks and stores what they found.

``measures.py`` makes figures of it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.loading.checkpoint import Model
from inference.timing import FRAME_SECONDS, SAMPLE_RATE
from inference.training.corpus.speech_corpus import as_floats
from inference.training.evaluation.codec_scores import through_codec
from inference.training.evaluation.evaluators import (
    MERGE_AGENT,
    MERGE_USER,
    Evaluators,
    Sound,
    only_speech,
)
from inference.training.evaluation.measures import Heard
from inference.training.evaluation.talks import Talk
from inference.training.voices import read_sound

QUALITY_SECONDS = 8.0  # of a conversation's speech that the quality models hear
MIN_SPEECH = 1.5  # seconds, to tell whose voice it is


@dataclass(frozen=True)
class Panel:
    """``speakers``: of each voice its vector; ``coded``: the same of its sound after
    the codec, which is all that the model ever hears. ``quality_every``: one talk of
    so many is scored for quality, which is slow; 0: none."""

    evaluators: Evaluators
    speakers: dict[str, Any]
    coded: dict[str, Any]
    quality_every: int


def keep_examples(talks: list[Talk], out: Path, count: int = 6) -> None:
    """Stereo, the user left and the agent right."""
    import soundfile

    for number, talk in enumerate(talks[:count]):
        both = np.stack([talk.user, talk.pcm], 1)
        soundfile.write(out / f"talk-{number}.flac", both, SAMPLE_RATE)


def listen(
    model: Model, talks: list[Talk], panel: Panel | None, notes: Path | None = None
) -> list[Heard]:
    """Without a panel only what the text tokens tell."""
    heards = []
    for number, talk in enumerate(talks):
        pieces = [
            (frame * FRAME_SECONDS, model.tokenizer.piece(token))
            for frame, token in enumerate(talk.text.tolist())
            if model.tokenizer.is_spoken(token)
        ]
        heard = Heard(talk.script, pieces, [], [])
        if panel is not None:
            _evaluate(panel, talk, heard, number)
            if number % 10 == 9:
                sys.stderr.write(f"evaluated {number + 1}/{len(talks)}\n")
        if notes is not None:
            keep(heard, notes, number)
        heards.append(heard)
    return heards


def _evaluate(panel: Panel, talk: Talk, heard: Heard, number: int) -> None:
    evaluators = panel.evaluators
    sound = as_floats(talk.pcm)
    heard.agent = evaluators.speech(sound, MERGE_AGENT)
    heard.user = evaluators.speech(as_floats(talk.user), MERGE_USER)
    heard.words = evaluators.words(sound, heard.agent)
    own = only_speech(sound, heard.agent)
    evaluate_voice(panel, heard, own)
    if panel.quality_every and number % panel.quality_every == 0:
        evaluate_quality(evaluators, heard, own)


def make_panel(
    model: Model, evaluators: Evaluators, sounds: Path, quality_every: int
) -> Panel:
    known = {path.stem: read_sound(path) for path in sorted(sounds.glob("*.ogg"))}
    return Panel(
        evaluators,
        {name: evaluators.speaker(sound) for name, sound in known.items()},
        {n: evaluators.speaker(through_codec(model, s)) for n, s in known.items()},
        quality_every,
    )


def evaluate_voice(panel: Panel, heard: Heard, own: Sound) -> None:
    voice = heard.script.voice
    if len(own) < MIN_SPEECH * SAMPLE_RATE or voice not in panel.speakers:
        return
    vector = panel.evaluators.speaker(own)
    near = {name: float(vector @ other) for name, other in panel.speakers.items()}
    heard.speaker_right = max(near, key=lambda name: near[name]) == voice
    heard.speaker_own = near[voice]
    coded = {name: float(vector @ other) for name, other in panel.coded.items()}
    nearest = max(coded, key=lambda name: coded[name])
    heard.coded_speaker = {
        "voice: own speaker is the nearest of 8, all coded": float(nearest == voice),
        "voice: similarity to own speaker, coded": coded[voice],
    }


def evaluate_quality(evaluators: Evaluators, heard: Heard, own: Sound) -> None:
    clip = own[: int(QUALITY_SECONDS * SAMPLE_RATE)]
    if len(clip) >= MIN_SPEECH * SAMPLE_RATE:
        heard.quality["quality: DNSMOS"] = evaluators.dnsmos(clip)
        heard.quality["quality: DistillMOS"] = evaluators.distillmos(clip)


def keep(heard: Heard, notes: Path, number: int) -> None:
    """For people who want to see why a figure is what it is."""
    record = {
        "group": heard.script.group,
        "voice": heard.script.voice,
        "role_prompt": heard.script.persona.role_prompt,
        "agent": heard.agent,
        "recognised": " ".join(word.text for word in heard.words),
        "questions": [
            {
                "kind": q.kind,
                "asked": q.text,
                "wording": q.wording,
                "about": q.about,
                "expected": q.expected,
                "answer": heard.text(q.end - 0.1, q.until),
            }
            for q in heard.script.questions
        ],
    }
    with notes.open("a" if number else "w") as file:
        file.write(json.dumps(record) + "\n")
