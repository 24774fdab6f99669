"""A persona says what its role prompt says of it, to voices that it never heard."""

import re

import numpy as np
import pytest

from inference.timing import FRAME_SAMPLES, SAMPLE_RATE
from tests.e2e import sounds
from tests.e2e.browser_protocol_client import hold, run
from tests.up.product import wait_until

QUESTION = sounds.DATA.parent.parent / "static" / "samples" / "name.flac"
GREETING_SECONDS, ANSWER_SECONDS = 4, 4


def asked(folder):
    """Silence for the greeting, then the question in one voice or two and time for each
    answer."""
    sample = sounds.decoded(QUESTION)[0]
    espeak = sounds.espeak_says("What is your name?", folder)
    parts = [np.zeros(GREETING_SECONDS * SAMPLE_RATE, np.float32)]
    for question in (sample, espeak):
        if question is not None:
            parts += [question, np.zeros(ANSWER_SECONDS * SAMPLE_RATE, np.float32)]
    return parts


@pytest.mark.parametrize(("name", "voice"), [("Anna", "NATF0"), ("George", "NATM1")])
def test_a_persona_says_its_name(site, place, rows, report, name, voice):
    asking = "SELECT id FROM personas_voice WHERE preset = %s"
    [(preset,)] = wait_until(lambda: rows(asking, voice), 60)  # offered by and by
    persona = site.create_persona(
        name, f"Your name is {name}.", voice_choice=str(preset)
    )
    parts = asked(place)
    first = len(parts[0]) / FRAME_SAMPLES
    talk = run(hold(site, persona, sounds.as_packets(np.concatenate(parts)), seed=1))
    assert talk.ended["reason"] == "user_ended"
    said = "".join(e["piece"] for e in texts(talk) if e["frame"] >= first)
    report(f"{name} with {voice}", said.strip())
    answers = re.findall(rf"(?:My name is|You can call me) {name}\b", said)
    assert len(answers) == (len(parts) - 1) // 2


def texts(talk):
    return [event for event in talk.events if event["type"] == "text"]
