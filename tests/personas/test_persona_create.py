import re
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from inference.models import Worker
from personas.models import Persona
from personas.models.upload import VoiceUpload
from tests.factories import VoiceFactory, WorkerFactory

URL = "/personas/new/"
LONG_AGO = timezone.now() - timedelta(hours=1)
JSON = {"headers": {"accept": "application/json"}}


@pytest.fixture(autouse=True)
def signed_in(client, alice):
    client.force_login(alice)


def test_the_form_has_examples_and_a_recorder(client):
    html = client.get(URL).content.decode()
    assert "You are a wise and friendly teacher." in html
    assert "data-recorder" in html
    assert 'data-most="2000"' in html


def test_it_makes_a_persona(client, alice):
    response = client.post(URL, {"name": "Nora", "role_prompt": "You bake.\r\nAlone."})
    persona = Persona.objects.get()
    assert response.headers["Location"] == f"/personas/{persona.pk}/"
    assert (persona.owner, persona.name) == (alice, "Nora")
    assert persona.current.role_prompt == "You bake.\nAlone."
    assert persona.current.voice is None
    page = client.get(response.headers["Location"]).content.decode()
    assert page.count("Nora was created.") == 1


def test_a_script_that_made_one_leads_to_the_same_message(client, alice):
    draft = "ab" * 16
    sent = {"name": "Nora", "role_prompt": "", "draft": draft}
    response = client.post(URL, sent, headers={"Accept": "application/json"})
    assert response.status_code == 201
    page = client.get(response.json()["url"]).content.decode()
    assert f'data-saved-draft="{draft}">Nora was created.</p>' in page


def test_a_voice_of_the_model_is_chosen_to_begin_with(client, presets):
    page, _, _ = client.get(URL).content.decode().partition("data-voice-field")
    chosen, *others = re.findall(r'<option value="(.*?)"( selected)?>(.*?)<', page)
    assert chosen == (
        str(presets["NATF0"].pk),
        " selected",
        "Natural, female 0 (NATF0)",
    )
    assert [(selected, label) for _, selected, label in others] == [
        ("", "Natural, female 1 (NATF1)"),
        ("", "Natural, male 1 (NATM1)"),
        ("", "Variety, female 0 (VARF0)"),
        ("", "Another voice each time, of the model’s own choice"),
    ]
    assert '<optgroup label="Voices that come with the model">' in page
    assert "not as a recording" in page
    client.post(URL, {"name": "Nora", "voice_choice": chosen[0]})
    assert Persona.objects.get().current.voice == presets["NATF0"]


def test_presets_of_other_models_are_not_offered(client, presets):
    VoiceFactory(owner=None, preset="NATF3", fingerprint="older")
    assert "NATF3" not in client.get(URL).content.decode()


def test_while_no_worker_runs_the_last_models_voices_are_offered(client, presets):
    WorkerFactory(fingerprint="older", last_seen_at=LONG_AGO)
    Worker.objects.filter(fingerprint="model-1").update(ready=False)
    assert "NATF0" in client.get(URL).content.decode()


def test_without_any_model_the_page_says_when_there_are_voices(client, db):
    page = client.get(URL).content.decode()
    assert "appear here once a voice engine runs" in page


def test_own_recordings_can_be_chosen_again(client, alice, bob):
    mine = VoiceFactory(owner=alice, name="Alice", seconds=11.6)
    VoiceFactory(owner=bob, name="Bob")
    page = client.get(URL).content.decode()
    assert re.search(rf'value="{mine.pk}">Alice, 12 s, \d+ \w+ \d+<', page)
    assert '<optgroup label="Your own recordings">' in page
    assert "Bob" not in page


def test_an_empty_role_prompt_is_allowed(client):
    client.post(URL, {"name": "Nora", "role_prompt": ""})
    assert Persona.objects.get().current.role_prompt == ""


def test_a_voice_sample_is_received_with_it(
    client, sample_file, enqueued, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        response = client.post(URL, {"name": "Nora", "voice": sample_file}, **JSON)
    upload = VoiceUpload.objects.get()
    assert response.status_code == 201
    assert response.json() == {"url": f"/personas/{upload.persona_id}/"}
    assert enqueued == [str(upload.pk)]
    assert "me" not in upload.original.name


def test_the_largest_file_is_named_as_its_refusal_names_it(client):
    assert "up to 30 MB, as WAV" in client.get(URL).text


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"name": ""}, "Give the persona a name."),
        ({"name": "\u202e\u200b "}, "Give the persona a name."),
        ({"name": "n" * 81}, "This name has 81 characters; it may have at most 80."),
        ({"role_prompt": "p" * 2001}, "2,001 characters; it may have at most 2,000"),
        ({"name": "a\0b"}, "Null characters are not allowed."),
    ],
)
def test_bad_fields_are_explained(client, fields, says):
    response = client.post(URL, {"name": "Nora", **fields})
    assert response.status_code == 400
    assert says in response.content.decode()
    assert Persona.objects.count() == 0


def test_line_ends_count_once(client):
    client.post(URL, {"name": "Nora", "role_prompt": "x\r\n" * 999 + "xx"})
    assert len(Persona.objects.get().current.role_prompt) == 2000


def test_a_file_that_is_no_sound_makes_no_persona(client, files_left):
    letter = SimpleUploadedFile("voice.wav", b"Dear Sir", "audio/wav")
    response = client.post(URL, {"name": "Nora", "voice": letter}, **JSON)
    assert response.status_code == 400
    assert "WAV, FLAC, MP3" in response.json()["errors"]["voice"][0]
    assert Persona.objects.count() == 0
    assert files_left() == []


def test_a_full_disk_makes_no_persona(client, sample_file, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("django.core.files.storage.FileSystemStorage.save", full)
    client.raise_request_exception = False
    response = client.post(URL, {"name": "Nora", "voice": sample_file})
    assert response.status_code == 507
    assert Persona.objects.count() == 0
