"""The socket of a voice upload: who may listen, and what is heard."""

import asyncio
import uuid

import pytest
from channels.db import database_sync_to_async as in_thread
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser
from django.core.files.base import ContentFile

from personas.models.upload import VoiceUpload
from personas.routing import websocket_urlpatterns
from personas.tasks import prepare_voice
from tests import sounds

pytestmark = pytest.mark.django_db(transaction=True)


def socket(upload_id, user):
    application = URLRouter(websocket_urlpatterns)
    communicator = WebsocketCommunicator(application, f"/ws/voices/{upload_id}/")
    communicator.scope["user"] = user
    return communicator


async def close_code(communicator):
    connected, _ = await communicator.connect()
    assert connected
    message = await communicator.receive_output(2)
    assert message["type"] == "websocket.close"
    return message["code"]


async def everything(communicator):
    heard = []
    while True:
        message = await communicator.receive_output(5)
        if message["type"] == "websocket.close":
            return heard, message["code"]
        import json

        heard.append(json.loads(message["text"]))


async def test_the_owner_hears_where_it_stands(upload, alice):
    communicator = socket(upload.pk, alice)
    await communicator.connect()
    assert await communicator.receive_json_from() == {
        "type": "progress",
        "upload": str(upload.pk),
        "state": "received",
        "text": "Waiting for its turn",
        "percent": 0,
    }
    await communicator.disconnect()


async def test_progress_ends_with_the_voice(upload, alice, encoder):
    communicator = socket(upload.pk, alice)
    await communicator.connect()
    await in_thread(prepare_voice)(str(upload.pk))
    heard, code = await everything(communicator)
    assert code == 1000
    states = [news.get("state", news["type"]) for news in heard]
    assert states[0] == "received"
    assert states[-1] == "ready"
    assert states == sorted(states, key=states.index)
    assert {"decoding", "encoding"} <= set(states)
    percents = [news["percent"] for news in heard[:-1]]
    assert percents == sorted(percents)
    assert heard[-1]["sample_url"].startswith("/voices/")
    assert heard[-1]["seconds"] == pytest.approx(12, abs=0.6)


async def test_failure_is_sent_with_its_reason(persona, alice, encoder):
    short = ContentFile(sounds.encode(sounds.speech(1.2)), "x")
    upload = await in_thread(VoiceUpload.receive)(persona, short)
    communicator = socket(upload.pk, alice)
    await communicator.connect()
    await in_thread(prepare_voice)(str(upload.pk))
    heard, code = await everything(communicator)
    assert code == 1000
    assert heard[-1]["type"] == "failed"
    assert heard[-1]["code"] == "too_short"
    assert "needs at least 3 s" in heard[-1]["text"]


async def test_who_comes_late_hears_the_end_at_once(upload, alice, encoder):
    await in_thread(prepare_voice)(str(upload.pk))
    communicator = socket(upload.pk, alice)
    await communicator.connect()
    heard, code = await everything(communicator)
    assert [news["type"] for news in heard] == ["ready"]
    assert code == 1000


async def test_a_stranger_is_refused(upload, bob):
    assert await close_code(socket(upload.pk, bob)) == 4404


async def test_an_unknown_upload_is_refused_the_same_way(alice):
    assert await close_code(socket(uuid.uuid4(), alice)) == 4404


async def test_who_is_not_signed_in_is_refused(upload):
    assert await close_code(socket(upload.pk, AnonymousUser())) == 4401


@pytest.mark.parametrize(
    "message", ["{", '{"type": "hello"}', "x" * 100_000, b"\0" * 9]
)
async def test_who_talks_on_it_is_cut_off(upload, alice, message):
    communicator = socket(upload.pk, alice)
    await communicator.connect()
    await communicator.receive_json_from()
    kind = "bytes_data" if isinstance(message, bytes) else "text_data"
    await communicator.send_to(**{kind: message})
    closed = await communicator.receive_output(2)
    assert closed == {"type": "websocket.close", "code": 4400}


async def test_nothing_of_one_upload_reaches_the_listeners_of_another(
    upload, bob, alice, encoder, recording
):
    from tests.factories import PersonaFactory

    other = await in_thread(PersonaFactory)(owner=bob)
    his = await in_thread(VoiceUpload.receive)(other, ContentFile(recording, "x"))
    communicator = socket(his.pk, bob)
    await communicator.connect()
    await communicator.receive_json_from()
    await in_thread(prepare_voice)(str(upload.pk))
    await asyncio.sleep(0.05)
    assert await communicator.receive_nothing()
    await communicator.disconnect()
