"""Deleting a recording: what goes, what stays, and who may."""

import os
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from inference.errors import ModelError
from personas.encoding import Encoded
from personas.models import Voice
from personas.strays import delete_strays
from personas.tasks import encode_voice_again, prepare_voice
from tests.factories import (
    ConversationFactory,
    PersonaFactory,
    UserFactory,
    VoiceFactory,
)

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


@pytest.fixture
def voice(alice):
    voice = VoiceFactory(owner=alice, name="Ada", fingerprint="model-1")
    voice.sample.save("a.flac", ContentFile(b"sound"))
    voice.prompt.save("a.pt", ContentFile(b"numbers"))
    return voice


@pytest.fixture
def url(voice):
    return f"/voices/{voice.pk}/delete/"


@committing
def test_no_file_is_left_and_the_personas_get_a_voice_of_the_model(
    client, alice, persona, voice, url, presets, files_left
):
    persona.revise(voice=voice)
    version = persona.current
    client.force_login(alice)
    response = client.post(url)
    assert response.headers["Location"] == "/voices/"
    voice.refresh_from_db()
    assert files_left() == []
    assert (voice.sample.name, voice.prompt.name, voice.digest) == ("", "", "")
    assert voice.deleted_at and voice.name == "Ada"
    assert persona.current.voice == presets["NATF0"]
    assert persona.versions.get(number=version.number).voice == voice
    assert client.get(f"/voices/{voice.pk}/sample/").status_code == 404
    assert client.post(url).status_code == 404


def test_the_page_says_what_it_means(client, alice, persona, voice, url, presets):
    persona.revise(voice=voice)
    PersonaFactory(owner=alice, name="Bea").revise(voice=voice)
    PersonaFactory(owner=alice, name="Cleo").revise(voice=voice)
    ConversationFactory.create_batch(2, persona_version=persona.current, owner=alice)
    client.force_login(alice)
    page = " ".join(client.get(url).content.decode().split())
    assert "There is no way back" in page
    assert (
        "<strong>Ada</strong>, <strong>Bea</strong> and <strong>Cleo</strong> will "
        "speak with “Natural, female 0”"
    ) in page
    assert "2 conversations were held in this voice" in page
    assert "back-ups" in page
    assert Voice.objects.get(pk=voice.pk).deleted_at is None


def test_what_is_not_affected_is_not_mentioned(client, alice, voice, url):
    client.force_login(alice)
    page = client.get(url).content.decode()
    assert "will speak with" not in page and "held in this voice" not in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_stranger_and_a_preset_are_refused(client, bob, voice, url, presets, method):
    client.force_login(bob)
    assert getattr(client, method)(url).status_code == 404
    preset = f"/voices/{presets['NATF0'].pk}/delete/"
    assert getattr(client, method)(preset).status_code == 404


def test_the_list_has_own_recordings_and_who_speaks_with_them(
    client, alice, bob, persona, voice, presets
):
    persona.revise(voice=voice)
    VoiceFactory(owner=alice, name="Unused")
    VoiceFactory(owner=bob, name="Bobs")
    client.force_login(alice)
    page = " ".join(client.get("/voices/").content.decode().split())
    assert f'the voice of <a href="/personas/{persona.pk}/">Ada</a>' in page
    assert page.count("no persona speaks with it now") == 1
    assert "Bobs" not in page and "NATF0" not in page


@committing
def test_a_voice_deleted_while_it_is_encoded_again_leaves_no_file(
    upload, encoder, monkeypatch, files_left
):
    prepare_voice(str(upload.pk))
    upload.refresh_from_db()

    def encode(pcm, progress, fingerprint):
        Voice.objects.get().erase(None)
        return Encoded(b"for model 9", fingerprint)

    monkeypatch.setattr("personas.tasks.encode", encode)
    encode_voice_again(str(upload.voice.pk), "model-9")
    assert files_left() == []
    assert Voice.objects.get().fingerprint == "model-1"


def test_a_deleted_voice_is_not_encoded_again(voice, monkeypatch):
    voice.erase(None)

    def encode(*_):
        raise ModelError("it was")

    monkeypatch.setattr("personas.tasks.encode", encode)
    encode_voice_again(str(voice.pk), "model-9")
    assert not voice.ready_for("model-9")


def test_files_that_no_row_names_are_swept_up(voice, upload, files_left, media):
    stray = media / "voices" / "prompts" / "stray.pt"
    stray.write_bytes(b"")
    assert delete_strays() == 0  # it may be named in a moment
    for path in media.rglob("*.*"):
        old = (timezone.now() - timedelta(hours=2)).timestamp()
        os.utime(path, (old, old))
    upload.voice = voice
    assert delete_strays() == 1
    assert not stray.exists()
    assert files_left() == ["prompts", "samples", "uploads"]


@committing
def test_an_operator_can_delete_recordings(client, voice, presets, files_left):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    chosen = [voice.pk, presets["NATF0"].pk]
    client.post(
        "/admin/personas/voice/", {"action": "erase", "_selected_action": chosen}
    )
    voice.refresh_from_db()
    assert voice.deleted_at and files_left() == []
    assert presets["NATF0"].found_for(["model-1"])
    page = client.get(f"/admin/personas/voice/{voice.pk}/change/").content.decode()
    assert "None: it was deleted." in page
