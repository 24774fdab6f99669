"""kill -9 in mid-conversation: it continues, and what was said is kept."""

import asyncio
import json
import re
import time
from contextlib import suppress

import pytest

from conversations.frame_log.format import unpack_timings
from tests.e2e import sounds
from tests.e2e.browser_protocol_client import Microphone, Talk, hold, run
from tests.up.product import wait_until


@pytest.fixture(scope="module")
def packets():
    return sounds.packets(10)  # over and over


@pytest.fixture(scope="module")
def persona(site):
    return site.create_persona("Someone to be cut off", "You talk a lot.")


async def talk_until(site, persona, packets, frames, strike, talk=None):
    """Hold a conversation; after that many answers, strike in a thread of its own, and
    talk until as many more are there."""
    talk, microphone = talk or Talk(), Microphone(packets)
    talking = asyncio.create_task(hold(site, persona, microphone, talk=talk))
    while talk.answered < frames:
        assert not talking.done(), f"it ended early: {talk.events[-3:]}"
        await asyncio.sleep(0.02)
    answered = talk.answered
    await asyncio.to_thread(strike)
    with suppress(TimeoutError):
        async with asyncio.timeout(120):
            while talk.answered < answered + frames and not talking.done():
                await asyncio.sleep(0.02)
    microphone.stop()
    await asyncio.wait([talking], timeout=60)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    return talk, answered


def end_of(rows, conversation):
    [(reason, frames)] = rows(
        "SELECT end_reason, frames FROM conversations_conversation WHERE id = %s",
        conversation,
    )
    return reason and (reason, frames)


def log_of(rows, conversation):
    """The notes, and the user frames that were answered; a log without gaps."""
    [(notes,)] = rows(
        "SELECT events FROM conversations_conversation WHERE id = %s", conversation
    )
    chunks = rows(
        "SELECT first_frame, frames, timings FROM conversations_framechunk"
        " WHERE conversation_id = %s AND frames > 0 ORDER BY first_frame",
        conversation,
    )
    seqs = []
    for first, frames, timings in chunks:
        assert first == len(seqs)
        seqs += unpack_timings(bytes(timings))["seq"].tolist()
        assert len(seqs) == first + frames
    return notes, seqs


def busy_slots(rows):
    [(sessions,)] = rows(
        "SELECT coalesce(sum(sessions), 0) FROM inference_worker"
        " WHERE last_seen_at > now() - interval '15 s'"
    )
    return sessions


def workers(product):
    try:
        return json.loads(product.page("/healthz"))["workers"]
    except OSError:
        return 0


def test_of_the_web_process(product, site, persona, packets, rows, report):
    """The page comes back as soon as there is a web process again, and continues."""
    dead = 0

    def strike():
        nonlocal dead
        dead = product.kill("daphne")

    talk, answered = run(talk_until(site, persona, packets, 30, strike))

    product.wait_for_another("daphne", dead)
    assert talk.ended["reason"] == "user_ended"
    assert talk.resumes == 1
    reason, frames = end_of(rows, talk.conversation)
    notes, kept = log_of(rows, talk.conversation)
    report(
        "kill -9 web",
        {
            "answered": answered,
            "frames": frames,
            "pause_s": round(talk.longest_pause(), 1),
            "notes": notes,
        },
    )
    assert reason == "user_ended"
    assert frames == len(kept) >= answered
    assert kept == sorted(set(talk.seqs)), "the log is what was heard"
    assert [note["kind"] for note in notes] == ["resumed"]
    assert notes[0]["detail"] == "kept"
    wait_until(lambda: busy_slots(rows) == 0, 60)


def test_of_the_inference_worker(product, site, persona, packets, rows, report):
    """The one that the supervisor starts in its place rebuilds the conversation."""
    dead = 0

    def strike():
        nonlocal dead
        dead = product.kill("inference")

    talk, answered = run(talk_until(site, persona, packets, 30, strike))

    product.wait_for_another("inference", dead)
    assert talk.ended["reason"] == "user_ended"
    assert talk.resumes == 0
    notes, kept = log_of(rows, talk.conversation)
    recovering = [e for e in talk.events if e.get("state") == "recovering"]
    report(
        "kill -9 worker",
        {
            "answered": answered,
            "frames": len(kept),
            "pause_s": round(talk.longest_pause(), 1),
            "notes": notes,
        },
    )
    assert len(recovering) == 1
    assert kept == talk.seqs
    assert [(n["kind"], n["detail"]) for n in notes] == [
        ("moved", "worker_lost, rebuilt")
    ]
    wait_until(lambda: workers(product) and busy_slots(rows) == 0, 150)


def test_of_nothing_but_the_connection(product, site, persona, packets, rows, report):
    """The worker keeps the session meanwhile."""
    talk = Talk()

    def strike():
        talk.socket.transport.abort()

    talk, answered = run(talk_until(site, persona, packets, 40, strike, talk))

    assert talk.ended["reason"] == "user_ended"
    assert talk.resumes == 1
    notes, kept = log_of(rows, talk.conversation)
    pause_ms = round(1000 * talk.longest_pause())
    report("a cut connection", {"pause_ms": pause_ms, "notes": notes})
    assert notes[-1]["kind"] == "resumed"
    assert notes[-1]["detail"] == "kept"
    assert kept == sorted(set(talk.seqs))
    assert len(kept) >= answered


def test_of_celery_during_a_voice_upload(product, site, rows):
    persona = site.create_persona("Slowly voiced", "You are patient.")
    status = site.upload_voice(persona, sounds.RECORDING)
    upload = status.rstrip("/").split("/")[-1]

    def begun():
        [(attempts,)] = rows(
            "SELECT attempts FROM personas_voiceupload WHERE id = %s", upload
        )
        return attempts

    end = time.monotonic() + 60
    while not begun():
        assert time.monotonic() < end
    dead = product.kill("celery")
    assert site.status(status)["type"] == "progress", "it was ready before the kill"

    product.wait_for_another("celery", dead)
    wait_until(lambda: site.status(status).get("type") == "ready", 180)
    assert begun() == 2


def test_a_stopped_product_ends_conversations_and_keeps_them(
    product, site, persona, packets, rows
):
    """Ctrl-C, and a start on the same data: the reason says what happened. Pages that
    were open before still find their files, and their forms are taken."""
    open_page = site.http.get(f"/conversations/talk/{persona}/").text
    files = set(re.findall(r'"(/static/[^"]+\.\w+)"', open_page))
    assert any(".js" in file for file in files)
    talk, answered = run(talk_until(site, persona, packets, 30, product.stop))

    product.start()

    assert {site.http.get(file).status_code for file in files} == {200}
    assert site.create_persona("Made after a restart", "You are new.")

    data = site.data(talk.conversation)
    assert data["end"]["reason"] == "shutdown"
    assert data["counts"]["frames"] >= answered
