"""A persona says what its role prompt says of it, to voices that it never heard."""

import asyncio
import re

import numpy as np

from inference.timing import FRAME_SAMPLES, SAMPLE_RATE
from tests.e2e import sounds
from tests.e2e.browser_protocol_client import hold, run
from tests.up.product import wait_until

QUESTION = sounds.DATA.parent.parent / "static" / "samples" / "name.flac"
GREETING_SECONDS, ANSWER_SECONDS = 4, 4
VOICES = {"Anna": "NATF0", "George": "NATM1"}


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


def test_personas_say_their_names(site, place, rows, report):
    """Both at once, each in a voice of its own."""
    personas = {
        name: site.create_persona(
            name, f"Your name is {name}.", voice_choice=preset(rows, voice)
        )
        for name, voice in VOICES.items()
    }
    parts = asked(place)
    packets = sounds.as_packets(np.concatenate(parts))

    async def both():
        talks = [hold(site, persona, packets, seed=1) for persona in personas.values()]
        return await asyncio.gather(*talks)

    said = {
        name: after_the_greeting(talk, len(parts[0]) / FRAME_SAMPLES)
        for name, talk in zip(personas, run(both()), strict=True)
    }
    report("names", said)
    for name, text in said.items():
        answers = re.findall(rf"(?:My name is|You can call me) {name}\b", text)
        assert len(answers) == (len(parts) - 1) // 2


def preset(rows, voice):
    """Offered by and by."""
    asking = "SELECT id FROM personas_voice WHERE preset = %s"
    [(found,)] = wait_until(lambda: rows(asking, voice), 60)
    return str(found)


def after_the_greeting(talk, first):
    assert talk.ended["reason"] == "user_ended"
    events = [event for event in talk.events if event["type"] == "text"]
    return "".join(e["piece"] for e in events if e["frame"] >= first).strip()
