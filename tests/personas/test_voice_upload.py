"""Sending a voice sample to a persona."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from kombu.exceptions import OperationalError

from personas.models.upload import VoiceUpload

JSON = {"headers": {"accept": "application/json"}}


@pytest.fixture
def send(client, alice, persona, django_capture_on_commit_callbacks):
    client.force_login(alice)

    def send(file, channel=None, **kwargs):
        fields = {} if channel is None else {"channel": channel}
        fields |= {"voice": file} if file else {}
        with django_capture_on_commit_callbacks(execute=True):
            url = f"/personas/{persona.pk}/voice/"
            return client.post(url, fields, **kwargs)

    return send


def test_it_answers_where_to_follow_it(send, sample_file, enqueued):
    response = send(sample_file, **JSON)
    upload = VoiceUpload.objects.get()
    assert response.status_code == 201
    assert response.json() == {
        "upload": str(upload.pk),
        "status_url": f"/voices/uploads/{upload.pk}/",
        "socket_path": f"/ws/voices/{upload.pk}/",
    }
    assert enqueued == [str(upload.pk)]


def test_without_javascript_it_leads_back_to_the_persona(
    send, sample_file, enqueued, persona
):
    assert send(sample_file).headers["Location"] == f"/personas/{persona.pk}/"
    assert len(enqueued) == 1


@pytest.mark.parametrize(
    "content, says",
    [
        (b"Dear Sir or Madam", "WAV, FLAC, MP3"),
        (b"", "This file is empty."),
        (None, "Choose a recording first"),
    ],
)
def test_what_is_no_sound_is_refused_at_once(send, enqueued, files_left, content, says):
    file = None if content is None else SimpleUploadedFile("a.wav", content)
    response = send(file, **JSON)
    assert response.status_code == 400
    assert says in response.json()["text"]
    assert VoiceUpload.objects.count() == 0
    assert enqueued == files_left() == []


def test_without_javascript_the_page_says_what_is_wrong(send, client):
    response = send(SimpleUploadedFile("a.wav", b"Dear Sir"), follow=True)
    assert "WAV, FLAC, MP3" in response.content.decode()


def test_a_file_that_is_too_large_is_dropped_while_it_arrives(
    send, settings, recording, files_left, tmp_path
):
    settings.VOICE_MAX_BYTES = 10_000
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "arriving"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    response = send(SimpleUploadedFile("a.ogg", recording), **JSON)
    assert response.status_code == 413
    assert "may have at most 10 kB" in response.json()["text"]
    assert VoiceUpload.objects.count() == 0
    assert files_left() == list(settings.FILE_UPLOAD_TEMP_DIR.iterdir()) == []


def test_no_path_is_built_from_the_name_of_the_file(send, recording, enqueued, media):
    send(SimpleUploadedFile("../../../etc/cron.d/evil", recording))
    [path] = [p for p in media.rglob("*") if p.is_file()]
    assert path.parent == media / "voices" / "uploads"
    assert path.name == str(VoiceUpload.objects.get().pk)


def test_without_a_broker_the_upload_waits(send, sample_file, monkeypatch):
    def refuse(*args):
        raise OperationalError("no broker")

    monkeypatch.setattr("personas.tasks.prepare_voice.delay", refuse)
    assert send(sample_file, **JSON).status_code == 201
    assert VoiceUpload.objects.get().state == "received"


def test_a_newer_sample_puts_the_waiting_one_aside(
    send, recording, enqueued, files_left
):
    send(SimpleUploadedFile("1.ogg", recording))
    send(SimpleUploadedFile("2.ogg", recording))
    newer, older = VoiceUpload.objects.all()
    assert (newer.state, older.state) == ("received", "failed")
    assert files_left() == ["uploads"]


def test_get_is_no_way_to_send(client, alice, persona):
    client.force_login(alice)
    assert client.get(f"/personas/{persona.pk}/voice/").status_code == 405


def test_the_channel_that_was_chosen_is_kept_with_the_file(
    send, client, recording, enqueued
):
    for channel, kept in (("left", "left"), ("", "")):
        file = SimpleUploadedFile("a.ogg", recording)
        assert send(file, channel=channel).status_code == 302
        assert VoiceUpload.objects.first().channel == kept


def test_a_channel_that_does_not_exist_is_refused(send, recording, enqueued):
    file = SimpleUploadedFile("a.ogg", recording)
    response = send(file, channel="5.1", **JSON)
    assert response.status_code == 400
    assert enqueued == []
