"""Whatever goes wrong, a script is answered in JSON and a person with a page."""

import errno
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.db import OperationalError
from django.test import Client

from personaplex_site.answers import BY_STATUS
from personas.models import Persona
from personas.models.upload import VoiceUpload
from tests import sounds
from tests.personas.forms import filled_in

JSON = {"headers": {"accept": "application/json"}}
PAGE = {"headers": {"accept": "text/html,*/*"}}


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "arriving"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    return tmp_path


@pytest.fixture
def client(alice):
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    return client


@pytest.fixture
def url(persona):
    return f"/personas/{persona.pk}/voice/"


@pytest.fixture
def send(client, url):
    def send(path=url, **kwargs):
        sound = sounds.encode(sounds.tone(4), "flac")
        fields = {"name": "Nora", "voice": SimpleUploadedFile("a.flac", sound)}
        return client.post(path, fields, **kwargs)

    return send


def refused(response, status, code, retryable):
    assert response.status_code == status
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert (body["code"], body["retryable"]) == (code, retryable)
    assert len(body["text"]) > 20
    assert int(response["Content-Length"]) == len(response.content)
    return body["text"]


def no_room(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def half_a_file(old, new, *args, **kwargs):
    Path(new).write_bytes(Path(old).read_bytes()[:100])
    no_room()


@pytest.mark.parametrize("path", [None, "/personas/new/"])
@pytest.mark.parametrize(
    ("place", "fail"),
    [
        ("django.core.files.storage.filesystem.file_move_safe", half_a_file),
        ("django.core.files.storage.filesystem.locks.lock", no_room),
        ("django.core.files.uploadhandler.TemporaryUploadedFile.write", no_room),
        ("django.core.files.uploadhandler.TemporaryUploadedFile.__init__", no_room),
    ],
)
def test_a_full_disk_is_reported_and_nothing_is_left(
    send, url, media, monkeypatch, path, place, fail
):
    monkeypatch.setattr(place, fail, raising=False)
    if place.endswith("lock"):  # the way of a file that is not on the disk yet
        monkeypatch.delattr(TemporaryUploadedFile, "temporary_file_path")
    before = Persona.objects.count()
    response = send(path or url, **JSON)
    assert "no room left" in refused(response, 507, "disk_full", True)
    assert response["Retry-After"]
    page = send(path or url, **PAGE)
    assert page.status_code == 507
    assert "The site’s disk is full" in page.text.replace("&#x27;", "’")
    assert VoiceUpload.objects.count() == 0
    assert Persona.objects.count() == before
    assert [p for p in media.rglob("*") if p.is_file()] == []


def test_a_row_that_cant_be_written_leaves_no_file(send, media, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(VoiceUpload, "save", away)
    refused(send(**JSON), 503, "database_away", True)
    assert [p for p in media.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("signed_in", [True, False])
def test_a_database_that_is_away_is_reported_without_a_query(
    send, client, url, monkeypatch, signed_in, settings
):
    def away(*args, **kwargs):
        raise OperationalError("connection refused")

    if not signed_in:
        client.logout()
    client.cookies[settings.SESSION_COOKIE_NAME] = "somebody"
    with monkeypatch.context() as patch:
        patch.setattr("django.db.backends.utils.CursorWrapper._execute", away)
        response = send(**JSON)
        page = client.get("/", **PAGE)
    assert "Nothing was changed" in refused(response, 503, "database_away", True)
    assert page.status_code == 503
    assert page["Retry-After"] == "5"
    assert "database can" in page.text


def test_a_visitor_who_is_not_signed_in_gets_a_clear_answer(send, client):
    client.logout()
    assert "signed out" in refused(send(**JSON), 401, "signed_out", False)
    assert send(**PAGE)["Location"].startswith("/sign-in/?next=")
    script = send(headers={"X-Requested-With": "XMLHttpRequest"})
    refused(script, 401, "signed_out", False)


def test_a_form_without_its_token_is_to_be_loaded_again(alice, url):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    text = refused(client.post(url, {}, **JSON), 403, "form_too_old", False)
    assert "Reload the page" in text
    page = client.post(url, {}, **PAGE)
    assert page.status_code == 403
    assert "Please send that again" in page.text


def test_other_errors_of_an_upload_are_json_too(send, client, url, bob, monkeypatch):
    host = {"headers": {"accept": "application/json", "host": "evil.example"}}
    refused(client.post(url, **host), 400, "unknown_name", False)
    response = client.get(url, **JSON)
    refused(response, 405, "wrong_method", False)
    assert response["Allow"] == "POST"
    letter = {"voice": SimpleUploadedFile("a.wav", b"Dear Sir or Madam")}
    refused(client.post(url, letter, **JSON), 400, "not_audio", False)
    refused(client.post("/personas/new/", letter, **JSON), 400, "required", False)

    def fail(*args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(VoiceUpload, "receive", fail)
    refused(send(**JSON), 500, "internal", True)
    assert send(**PAGE)["Content-Type"].startswith("text/html")
    client.force_login(bob)
    refused(send(**JSON), 404, "not_found", False)


def test_what_is_no_error_stays_as_it_is(client, persona):
    assert client.get("/", **JSON)["Content-Type"].startswith("text/html")
    url = f"/personas/{persona.pk}/"
    assert client.post(url, filled_in(client.get(url)), **JSON).status_code == 302


def test_a_name_that_is_not_allowed_is_explained_to_people_too(client):
    response = client.get("/sign-in/", headers={"host": "evil.example"})
    assert response.status_code == 400
    assert b"ALLOWED_HOSTS" in response.content
    assert b"not known by that name" in response.content


def test_every_text_says_something():
    assert all(p.text.endswith(".") and p.code for p in BY_STATUS.values())
