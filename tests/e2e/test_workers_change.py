"""Two workers: a conversation moves from one to the other while it talks, and back."""

import asyncio
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from conversations.frame_log.format import unpack_tokens
from inference.timing import FRAME_SECONDS
from personaplex_site.up.product import BASE_DIR
from tests.e2e import sounds
from tests.e2e.browser_protocol_client import Microphone, Talk, hold, run
from tests.e2e.test_processes_die import log_of
from tests.up.product import wait_until

UNMOVED = 80  # frames
START_SECONDS = 150.0  # of a worker, on a slow machine


@pytest.fixture
def second(product, rows, tmp_path):
    """A worker beside the supervised one; it has fewer places, so it is asked last."""
    environment = {**os.environ, **product.environment_of_site()}
    with (tmp_path / "second.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference", "serve", "--name", "second",
             "--port", "0", "--slots", "1", "--site", product.address,
             "--heartbeat-seconds", "1"],
            cwd=BASE_DIR, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(lambda: ready(rows, "second"), START_SECONDS)
        yield process
    finally:
        process.kill()
        process.wait()


def ready(rows, name):
    return rows("SELECT 1 FROM inference_worker WHERE name = %s AND ready", name)


def tokens(rows, conversation):
    chunks = rows(
        "SELECT tokens FROM conversations_framechunk WHERE conversation_id = %s"
        " AND frames > 0 ORDER BY first_frame",
        conversation,
    )
    return np.concatenate([unpack_tokens(bytes(chunk)) for (chunk,) in chunks])


def test_a_drained_worker_and_a_killed_one_are_not_heard_in_the_words(
    product, site, rows, second, report
):
    persona = site.create_persona("Someone who moves", "You enjoy travelling.")
    packets = sounds.packets(UNMOVED * FRAME_SECONDS + 1)[:UNMOVED]
    unmoved = run(hold(site, persona, packets, greedy=True, seed=1))
    # Else the first looks as full as the second, and either may be asked first.
    wait_until(
        lambda: rows("SELECT 1 FROM inference_worker WHERE slots - sessions > 1")
    )

    async def moving():
        talk, microphone = Talk(), Microphone(packets)
        talking = asyncio.create_task(
            hold(site, persona, microphone, talk=talk, greedy=True, seed=1)
        )
        await until(30, talk, talking)
        product.child("inference").send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for_the_first)
        await until(UNMOVED, talk, talking)
        paused = talk.longest_pause()
        second.kill()
        await until(talk.answered + 40, talk, talking)
        microphone.stop()
        await asyncio.wait_for(talking, 60)
        return talk, paused

    def wait_for_the_first():
        """Stopped and started again; then what a kill costs is the rebuild alone."""
        first = "SELECT 1 FROM inference_worker WHERE name <> 'second' AND ready"
        wait_until(lambda: not rows(first))
        wait_until(lambda: rows(first), START_SECONDS)

    async def until(frames, talk, talking):
        async with asyncio.timeout(90):
            while talk.answered < frames:
                assert not talking.done(), f"it ended early: {talk.events[-3:]}"
                await asyncio.sleep(0.01)

    talk, paused = run(moving())
    assert talk.ended["reason"] == "user_ended"
    notes, kept = log_of(rows, talk.conversation)
    report(
        "two workers",
        {
            "longest_pause_s": {
                "unmoved": round(unmoved.longest_pause(), 2),
                "drained": round(paused, 2),
                "killed": round(talk.longest_pause(), 2),
            },
            "notes": notes,
        },
    )
    assert [(n["kind"], n["detail"]) for n in notes] == [
        ("moved", "draining"),
        ("moved", "worker_lost, rebuilt"),
    ]
    # What was under way to the killed worker is lost; before that, nothing is.
    assert kept == talk.seqs
    killed = notes[1]["frame"] - 1
    assert kept[:killed] == list(range(killed))
    assert killed >= UNMOVED
    np.testing.assert_array_equal(
        tokens(rows, talk.conversation)[:UNMOVED], tokens(rows, unmoved.conversation)
    )
