"""Who may open the socket, and each code that it is closed with."""

import asyncio
import json
import struct
from dataclasses import replace
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError

from conversations.models import Conversation
from tests.conversations.browser import PCM, Browser
from tests.conversations.echo_worker import BUSY
from tests.factories import VoiceFactory, WorkerFactory


@sync_to_async
def conversations():
    return list(Conversation.objects.all())


@sync_to_async
def in_database(work):
    return work()


async def test_it_refuses_who_is_not_signed_in(cast):
    browser = await Browser(cast[2].pk, AnonymousUser()).open()
    assert await browser.until_closed() == 4401


async def test_it_refuses_a_stranger(cast):
    _, bob, persona = cast
    browser = await Browser(persona.pk, bob).open()
    assert await browser.until_closed() == 4404


async def test_it_refuses_a_persona_that_does_not_exist(cast):
    browser = await Browser(uuid4(), cast[0]).open()
    assert await browser.until_closed() == 4404


async def test_it_refuses_a_deleted_persona(cast):
    alice, _, persona = cast
    await in_database(persona.delete_softly)
    browser = await Browser(persona.pk, alice).open()
    assert await browser.until_closed() == 4404


async def test_it_closes_without_start(browser, monkeypatch):
    monkeypatch.setattr("conversations.live.consumer.START_SECONDS", 0.05)
    await browser.open()
    assert await browser.until_closed() == 4408


async def test_ending_before_start_is_no_error(browser):
    await browser.open()
    await browser.send_json_to({"type": "end"})
    assert await browser.until_closed() == 1000
    await browser.leave(1000)


@pytest.mark.parametrize("text", ["{", '{"type":"dance"}', '"start"'])
async def test_a_malformed_event_closes_the_socket(browser, text):
    await browser.open()
    await browser.send_to(text_data=text)
    assert await browser.until_closed() == 4400


async def test_a_frame_before_start_closes_the_socket(browser):
    await browser.open()
    await browser.say(0)
    assert await browser.until_closed() == 4400


async def test_a_large_event_closes_the_socket(browser):
    await browser.open()
    await browser.send_to(text_data=json.dumps({"type": "x" * 9_000}))
    assert await browser.until_closed() == 4413


async def test_a_second_start_is_malformed(browser, worker):
    await browser.start()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    assert await browser.until_closed() == 4400


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\1", 4400),
        (struct.pack("<BBHI", 9, 0, 0, 0) + b"x", 4400),
        (struct.pack("<BBHI", 1, 0, 0, 0) + b"\xff\xff\xff", 4400),
        (struct.pack("<BBHI", 2, 0, 0, 0) + bytes(3_840), 4400),  # PCM after opus
        (bytes(9_000), 4413),
    ],
)
async def test_bad_frames_close_the_socket_and_end_the_conversation(
    browser, worker, the_conversation, data, code
):
    await browser.start()
    await browser.send_to(bytes_data=data)
    assert await browser.until_closed() == code
    await browser.leave(code)
    conversation, _ = await the_conversation()
    assert conversation.end_reason == "protocol"


async def test_a_flood_closes_the_socket(browser, worker, the_conversation):
    await browser.start()
    for seq in range(40):
        await browser.say(seq)
    assert await browser.until_closed() == 4429
    await browser.leave(4429)
    conversation, _ = await the_conversation()
    assert conversation.end_reason == "protocol"


async def test_a_flood_before_ready_closes_the_socket(browser, worker):
    worker.prime_seconds = 1.5
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    await browser.until("state")
    for seq in range(130):
        await browser.say(seq)
    assert await browser.until_closed() == 4429
    assert await conversations() == []


async def test_frames_before_ready_are_ignored(browser, worker):
    worker.prime_seconds = 0.2
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    await browser.say(0)
    await browser.until("ready")
    await browser.say(10)
    await browser.until_frame(10)
    assert len(browser.frames) == 1
    await browser.leave()


async def test_no_worker_says_so(browser):
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    assert await browser.until_closed() == 4503
    error = browser.event("error")
    assert error["code"] == "no_worker"
    assert error["retryable"] is True
    assert error["retry_after_s"] == 30


async def test_a_worker_that_is_too_slow_counts_as_none(browser, cast):
    await in_database(
        lambda: WorkerFactory(url="ws://127.0.0.1:1", ready=False, why_not="too slow")
    )
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    assert await browser.until_closed() == 4503
    assert browser.event("error")["code"] == "no_worker"


async def test_the_next_worker_is_asked_when_the_first_is_gone(browser, worker):
    await in_database(lambda: WorkerFactory(url="ws://127.0.0.1:1", slots=9))
    await browser.start()
    assert len(worker.opened) == 1
    await browser.leave()


async def test_a_voice_that_does_not_fit_is_an_error_that_says_what_to_do(
    browser, worker
):
    worker.refuse = replace(BUSY, code="role_prompt", text="Shorten it.")
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    assert await browser.until_closed() == 1000
    assert browser.event("error")["code"] == "role_prompt"


async def test_a_person_takes_no_more_places_than_allowed(
    browser, worker, cast, settings, the_conversation
):
    settings.CONVERSATIONS_PER_USER = 1
    alice, _, persona = cast
    await browser.start()
    second = await Browser(persona.pk, alice).open()
    await second.send_json_to({"type": "start", "audio": "opus"})
    assert await second.until_closed() == 1000
    assert second.event("error")["code"] == "too_many"
    await browser.leave()
    third = await Browser(persona.pk, alice).start()
    await third.leave()


async def test_two_at_the_same_moment_cannot_both_take_the_last_place(
    browser, worker, cast, settings
):
    settings.CONVERSATIONS_PER_USER = 1
    worker.prime_seconds = 0.3  # both have passed the first look
    alice, _, persona = cast
    second = Browser(persona.pk, alice)
    for one in (browser, second):
        await one.open()
        await one.send_json_to({"type": "start", "audio": "opus"})

    async def outcome(one):
        while not (one.event("ready") or one.event("error")):
            await one.take()
        return "ready" if one.event("ready") else one.event("error")["code"]

    outcomes = await asyncio.gather(outcome(browser), outcome(second))
    assert sorted(outcomes) == ["ready", "too_many"]
    await browser.leave()
    await second.leave()
    await worker.until_free()


async def test_a_stranger_leaves_no_trace_in_a_live_conversation(
    browser, worker, cast, the_conversation
):
    _, bob, persona = cast
    await browser.start()
    await browser.say(0)
    stranger = await Browser(persona.pk, bob).open()
    await stranger.send_json_to({"type": "start", "audio": "opus"})
    await stranger.say(0)
    assert await stranger.until_closed() == 4404
    await browser.say(1)
    await browser.until_frame(1)
    await browser.leave()
    conversation, _ = await the_conversation()
    assert (conversation.frames, conversation.end_reason) == (2, "user_left")


async def test_the_same_seed_and_sampling_come_back(browser, worker):
    await browser.start(seed=7, greedy=True, temperature_text=42)
    ready = browser.event("ready")
    assert ready["seed"] == 7
    assert ready["sampling"]["temperature_text"] == 1.5
    assert worker.opened[0].sampling.seed == 7
    assert worker.opened[0].sampling.greedy is True
    await browser.leave()


async def test_a_seed_is_chosen_and_kept(browser, worker, the_conversation):
    await browser.start()
    await browser.leave()
    conversation, _ = await the_conversation()
    assert conversation.sampling["seed"] == browser.event("ready")["seed"]
    assert worker.opened[0].sampling.seed == browser.event("ready")["seed"]
    assert worker.authorization.startswith("Bearer ")
    assert worker.opened[0].role_prompt == "You enjoy having a good conversation."
    assert worker.opened[0].conversation == str(conversation.pk)


async def test_without_webcodecs_sound_goes_as_pcm(browser, worker, the_conversation):
    await browser.start(audio="pcm")
    await browser.say(0, kind=PCM)
    await browser.until_frame(0)
    kind, _, _, _, payload = browser.frames[0]
    assert (kind, len(payload)) == (PCM, 3_840)
    await browser.leave()
    _, chunks = await the_conversation()
    assert 0 < len(bytes(chunks[0].user_packets)) < 1_000  # Opus in the log


@pytest.fixture
def voice(cast, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    from django.core.files.base import ContentFile

    alice, _, persona = cast
    voice = VoiceFactory(owner=alice, digest="ab" * 32)
    voice.prompt.save("voice.pt", ContentFile(b"the voice prompt"))
    persona.revise(voice=voice)
    return voice


async def test_the_voice_prompt_is_handed_over_when_wanted(browser, voice, worker):
    worker.want_voice = True
    await browser.start()
    assert worker.opened[0].voice == "ab" * 32
    assert worker.voices[0].endswith(b"the voice prompt")
    await browser.leave()


async def test_a_lost_voice_file_says_what_to_do(browser, voice, worker):
    worker.want_voice = True
    voice.prompt.storage.delete(voice.prompt.name)
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    assert await browser.until_closed() == 1000
    assert "upload it again" in browser.event("error")["text"]


async def test_a_voice_of_another_model_is_encoded_again(
    browser, voice, worker, no_broker
):
    voice.fingerprint = "an older model"
    await in_database(voice.save)
    await browser.open()
    await browser.send_json_to({"type": "start", "audio": "opus"})
    assert await browser.until_closed() == 1000
    error = browser.event("error")
    assert error["code"] == "voice_not_ready"
    assert error["retryable"] is True
    assert no_broker == [
        ("personas.tasks.encode_voice_again", [str(voice.pk), "test-model"])
    ]


async def test_a_worker_whose_model_fits_the_voice_is_preferred(browser, voice, worker):
    await in_database(
        lambda: WorkerFactory(url="ws://127.0.0.1:1", fingerprint="other", slots=99)
    )
    await browser.start()
    assert len(worker.opened) == 1
    await browser.leave()


async def test_an_absent_database_refuses_politely(browser, worker, monkeypatch):
    def away(*args):
        raise OperationalError("the server is away")

    await browser.open()
    monkeypatch.setattr("conversations.live.conversation.admit", away)
    await browser.send_json_to({"type": "start", "audio": "opus"})
    assert await browser.until_closed() == 1000
    error = browser.event("error")
    assert error["code"] == "error"
    assert "server is away" not in json.dumps(error)
