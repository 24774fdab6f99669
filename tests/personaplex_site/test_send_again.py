"""A form of before the last sign-in is offered again, to its own page only."""

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from personas.models import Persona
from tests.factories import ConversationFactory, VoiceFactory
from tests.personas.forms import filled_in

OURS = {"origin": "http://testserver", "accept": "text/html"}
TEXT = "You work for <b>Olive & Thyme</b>.\nYou are 😀."


@pytest.fixture(autouse=True)
def names(settings):
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def client(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    return client


@pytest.fixture
def page(client, persona):
    """The fields of the persona's page, with a token of before."""
    fields = filled_in(client.get(f"/personas/{persona.pk}/"))
    return {**fields, "role_prompt": TEXT, "csrfmiddlewaretoken": "x" * 64}


@pytest.fixture
def send(client, persona, page):
    def send(fields=page, path=f"/personas/{persona.pk}/", **headers):
        return client.post(path, fields, headers={**OURS, **headers})

    return send


def test_the_text_comes_back_with_a_token_that_works(send, client, persona):
    refused = send()
    assert refused.status_code == 403
    assert refused["Cache-Control"] == "no-store"
    assert "<b>Olive" not in refused.text
    assert "&lt;b&gt;Olive &amp; Thyme" in refused.text
    assert f'action="/personas/{persona.pk}/"' in refused.text
    again = filled_in(refused, "send-again")
    assert again["role_prompt"] == [TEXT]
    assert persona.current.role_prompt != TEXT
    assert send(again).status_code == 302
    assert persona.current.role_prompt == TEXT


def test_a_large_text_comes_back_whole(send, page):
    text = "😀" * 100_000
    again = filled_in(send({**page, "role_prompt": text}), "send-again")
    assert again["role_prompt"] == [text]


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://testserver", "http://testserver:81", "null", ""],
)
def test_a_form_of_another_site_is_not_offered(send, persona, origin):
    refused = send(origin=origin)
    assert refused.status_code == 403
    assert "Olive" not in refused.text
    assert "send-again" not in refused.text


def test_a_form_that_doesnt_say_from_where_it_comes_is_not_offered(client, page):
    refused = client.post("/personas/new/", page)
    assert refused.status_code == 403
    assert "Olive" not in refused.text


def test_passwords_are_not_put_into_a_page(send):
    fields = {"username": "alice", "password": "correct horse 9"}
    refused = send(fields, "/sign-in/")
    assert refused.status_code == 403
    assert "correct horse" not in refused.text


def test_who_is_signed_out_keeps_the_form(page):
    refused = Client().post("/personas/new/", page, headers=OURS)
    assert refused.status_code == 403
    assert "You are signed out" in refused.text
    assert filled_in(refused, "send-again")["role_prompt"] == [TEXT]
    assert not Persona.objects.filter(name="Nora").exists()


def deletes(persona):
    voice = VoiceFactory(owner=persona.owner, name="Warm")
    talk = ConversationFactory(persona_version=persona.current)
    return [
        (f"/personas/{persona.pk}/delete/", "Delete the persona “Ada”?", "Delete"),
        (
            f"/voices/{voice.pk}/delete/",
            "Delete the recording of “Warm” for good?",
            "Delete for good",
        ),
        (
            f"/conversations/{talk.pk}/",
            "Delete the conversation with “Ada” for good?",
            "Delete for good",
        ),
    ]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("signed_out", [True, False])
def test_it_names_what_would_be_done(client, persona, which, signed_out):
    path, asks, button = deletes(persona)[which]
    page = client.get(path)
    form = next(f for f in page.text.split("<form ")[1:] if asks in f)
    action = re.search('action="([^"]+)"', form)
    fields = {
        **dict(re.findall('name="(_[^"]+)" value="([^"]+)"', form)),
        "csrfmiddlewaretoken": "x" * 64,
    }
    sender = Client() if signed_out else client
    refused = sender.post(action[1] if action else path, fields, headers=OURS)
    assert refused.status_code == 403
    assert f"<p>{asks}</p>" in refused.text
    assert f'danger">{button}</button>' in refused.text
    assert "what you wrote" not in refused.text
    assert "Nothing was changed" in refused.text
    if not signed_out:
        again = filled_in(refused, "send-again")
        done = sender.post(action[1] if action else path, again, headers=OURS)
        assert done.status_code == 302


def test_a_deletion_in_the_admin_is_named_too(alice, persona):
    url = f"/admin/personas/persona/{persona.pk}/delete/"
    refused = Client().post(url, {"post": "yes"}, headers=OURS)
    assert "<p>Delete it?</p>" in refused.text
    assert ">Delete</button>" in refused.text


def test_signed_out_with_a_file_one_comes_back_to_the_page(persona):
    """An address that takes a file shows no page."""
    sound = {"voice": SimpleUploadedFile("a.wav", b"RIFF")}
    path = f"/personas/{persona.pk}/"
    referer = {"referer": f"http://testserver{path}"}
    refused = Client().post(f"{path}voice/", sound, headers={**OURS, **referer})
    assert refused["Location"] == f"/sign-in/?next={path}"
    for elsewhere in ("http://evil.example/x/", "", "no address"):
        headers = {**OURS, "referer": elsewhere}
        refused = Client().post(f"{path}voice/", sound, headers=headers)
        assert refused["Location"] == f"/sign-in/?next={path}voice/"


def test_a_script_gets_a_new_token(client, page, settings):
    client.cookies.pop(settings.CSRF_COOKIE_NAME)
    headers = {"accept": "application/json"}
    refused = client.post("/personas/new/", page, headers=headers)
    assert refused.json()["code"] == "form_too_old"
    token = refused.cookies[settings.CSRF_COOKIE_NAME].value
    fields = {"name": "Nora", "csrfmiddlewaretoken": token}
    assert client.post("/personas/new/", fields, headers=headers).status_code == 201


def test_the_admin_offers_its_forms_again_too(client, alice, persona):
    alice.is_staff = alice.is_superuser = True
    alice.save()
    url = f"/admin/personas/persona/{persona.pk}/change/"
    fields = filled_in(client.get(url), "persona_form")
    sent = {**fields, "name": "Eve", "csrfmiddlewaretoken": "x" * 64}
    again = filled_in(client.post(url, sent, headers=OURS), "send-again")
    assert client.post(url, again, headers=OURS).status_code == 302
    persona.refresh_from_db()
    assert persona.name == "Eve"
