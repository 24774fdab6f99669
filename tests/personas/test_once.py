"""The same form sent twice makes one persona and one upload."""

import re
import threading

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from personas.models import Persona, Voice
from personas.models.upload import VoiceUpload
from tests.factories import VoiceFactory

URL = "/personas/new/"
JSON = {"headers": {"accept": "application/json"}}


@pytest.fixture
def form(client, alice):
    client.force_login(alice)
    form_id = re.search(r'name="form_id" value="(.*?)"', client.get(URL).text)[1]
    return {"name": "Nora", "role_prompt": "You bake.", "form_id": form_id}


def test_each_page_has_an_id_of_its_own(client, form):
    assert len(form["form_id"]) == 32
    assert form["form_id"] not in client.get(URL).text


def test_the_second_answers_as_the_first(client, form, recording, enqueued, files_left):
    def send(**kwargs):
        file = SimpleUploadedFile("a.ogg", recording)
        return client.post(URL, {**form, "voice": file}, **kwargs)

    first, second = send(), send()
    assert first["Location"] == second["Location"]
    assert send(**JSON).json() == {"url": first["Location"]}
    assert Persona.objects.count() == VoiceUpload.objects.count() == 1
    assert files_left() == ["uploads"]


def test_the_same_page_with_other_content_makes_another(client, form, alice):
    """Somebody went back, changed the form and sent it."""
    voice = VoiceFactory(owner=alice)
    for change in ({}, {"name": "Nina"}, {"role_prompt": ""}, {"voice_choice": voice}):
        change = {k: getattr(v, "pk", v) for k, v in change.items()}
        client.post(URL, {**form, **change})
    assert Persona.objects.count() == 4


def test_forms_of_others_and_of_deleted_personas_make_new_ones(client, form, bob):
    client.post(URL, form)
    Persona.objects.get().delete_softly()
    again = client.post(URL, form)["Location"]
    assert client.get(again).status_code == 200
    client.force_login(bob)
    assert client.post(URL, form)["Location"] != again
    assert Persona.objects.count() == 3


def test_a_form_with_an_error_can_be_sent_again(client, form):
    refused = client.post(URL, {**form, "name": ""})
    assert refused.status_code == 400
    assert form["form_id"] in refused.text
    client.post(URL, form)
    assert Persona.objects.count() == 1


def test_without_an_id_every_form_counts(client, form):
    del form["form_id"]
    client.post(URL, form)
    client.post(URL, form)
    assert Persona.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_forms_sent_at_the_same_moment_make_one(alice, client, form, recording):
    together = threading.Barrier(4)
    answers = []

    def send(cookies):
        browser = Client()
        browser.cookies = cookies
        file = SimpleUploadedFile("a.ogg", recording)
        together.wait(30)
        answers.append(browser.post(URL, {**form, "voice": file}))
        connection.close()

    threads = [threading.Thread(target=send, args=[client.cookies]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [302] * 4
    assert len({answer["Location"] for answer in answers}) == 1
    assert Persona.objects.count() == VoiceUpload.objects.count() == 1


def test_a_recording_sent_twice_is_one_upload(client, form, persona, recording):
    url = f"/personas/{persona.pk}/voice/"

    def send(data=recording, name="a.ogg"):
        file = SimpleUploadedFile(name, data)
        fields = {"voice": file, "form_id": form["form_id"]}
        return client.post(url, fields, **JSON).json()["upload"]

    assert send() == send()
    assert VoiceUpload.objects.get().state == "received"
    assert send(name="b.ogg") != send()
    assert VoiceUpload.objects.count() == 3, "the first was put aside by the second"
    assert Voice.objects.count() == 0
