"""kill -9 in mid-conversation: what was said is kept, and the product goes on."""

import asyncio
import json
import time

import pytest

from tests.e2e import sounds
from tests.e2e.browser_protocol_client import Talk, hold, run
from tests.up.product import wait_until

MAX_LOST_FRAMES = 25  # 2 s


@pytest.fixture(scope="module")
def packets():
    return sounds.packets(40)


@pytest.fixture(scope="module")
def persona(site):
    return site.create_persona("Someone to be cut off", "You talk a lot.")


async def talk_until(site, persona, packets, frames, strike):
    """Hold a conversation; after that many answers, strike in a thread of its own."""
    talk = Talk()
    talking = asyncio.create_task(hold(site, persona, packets, talk=talk))
    while talk.answered < frames:
        assert not talking.done(), f"it ended early: {talk.events[-3:]}"
        await asyncio.sleep(0.02)
    answered = talk.answered
    await asyncio.to_thread(strike)
    await asyncio.wait([talking], timeout=40)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    return talk, answered


def end_of(rows, conversation):
    [(reason, frames)] = rows(
        "SELECT end_reason, frames FROM conversations_conversation WHERE id = %s",
        conversation,
    )
    return reason and (reason, frames)


def busy_slots(rows):
    [(sessions,)] = rows("SELECT coalesce(sum(sessions), 0) FROM inference_worker")
    return sessions


def workers(product):
    try:
        return json.loads(product.page("/healthz"))["workers"]
    except OSError:
        return 0


async def can_talk(site, persona, packets):
    talk = await hold(site, persona, packets[:25])
    return talk.ended.get("reason") == "user_ended" and talk.answered == 25


def test_of_the_web_process(product, site, persona, packets, rows, report):
    dead = 0

    def strike():
        nonlocal dead
        dead = product.kill("daphne")

    talk, answered = run(talk_until(site, persona, packets, 100, strike))
    struck = time.monotonic()

    assert talk.close_code in (1006, None)
    wait_until(lambda: busy_slots(rows) == 0, 30)
    slot_free = time.monotonic() - struck
    reason, frames = wait_until(lambda: end_of(rows, talk.conversation), 30)
    reason_after = time.monotonic() - struck
    product.wait_for_another("daphne", dead)
    wait_until(lambda: workers(product), 30)
    report(
        "kill -9 web",
        {
            "answered": answered,
            "kept": frames,
            "reason": reason,
            "slot_free_s": round(slot_free, 1),
            "reason_after_s": round(reason_after, 1),
        },
    )
    assert reason == "web_lost"
    assert frames >= answered - MAX_LOST_FRAMES
    assert run(can_talk(site, persona, packets))


def test_of_the_inference_worker(product, site, persona, packets, rows):
    dead = 0

    def strike():
        nonlocal dead
        dead = product.kill("inference")

    talk, answered = run(talk_until(site, persona, packets, 60, strike))

    assert talk.ended["reason"] == "worker_lost"
    reason, frames = wait_until(lambda: end_of(rows, talk.conversation), 30)
    assert reason == "worker_lost"
    assert frames >= answered - MAX_LOST_FRAMES
    product.wait_for_another("inference", dead)
    wait_until(lambda: workers(product) and busy_slots(rows) == 0, 60)
    assert run(can_talk(site, persona, packets))


def test_of_celery_during_a_voice_upload(product, site, rows):
    persona = site.create_persona("Slowly voiced", "You are patient.")
    status = site.upload_voice(persona, sounds.RECORDING)
    upload = status.rstrip("/").split("/")[-1]

    def begun():
        [(attempts,)] = rows(
            "SELECT attempts FROM personas_voiceupload WHERE id = %s", upload
        )
        return attempts

    end = time.monotonic() + 30
    while not begun():
        assert time.monotonic() < end
    dead = product.kill("celery")
    assert site.status(status)["type"] == "progress", "it was ready before the kill"

    product.wait_for_another("celery", dead)
    wait_until(lambda: site.status(status).get("type") == "ready", 120)
    assert begun() == 2


def test_a_stopped_product_ends_conversations_and_keeps_them(
    product, site, persona, packets, rows
):
    """Ctrl-C, and a start on the same data: the reason says what happened."""
    talk, answered = run(talk_until(site, persona, packets, 50, product.stop))

    product.start()

    data = site.data(talk.conversation)
    assert data["end"]["reason"] == "shutdown"
    assert data["counts"]["frames"] >= answered
