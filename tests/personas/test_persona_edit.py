import pytest

from tests.factories import PersonaVersionFactory, VoiceFactory


@pytest.fixture
def url(persona):
    return f"/personas/{persona.pk}/"


def test_it_shows_name_prompt_and_voice(client, alice, persona, url):
    voice = VoiceFactory(owner=alice)
    PersonaVersionFactory(
        persona=persona, number=2, role_prompt="You sing.", voice=voice
    )
    client.force_login(alice)
    html = client.get(url).content.decode()
    assert "You sing." in html
    assert f"/voices/{voice.pk}/sample/" in html
    assert f"/conversations/talk/{persona.pk}/" in html


def test_a_changed_prompt_is_a_new_version_with_the_same_voice(
    client, alice, persona, url
):
    voice = persona.revise(voice=VoiceFactory(owner=alice)).voice
    client.force_login(alice)
    client.post(url, {"name": "Ada", "role_prompt": "You count."})
    assert persona.current.number == 3
    assert persona.current.role_prompt == "You count."
    assert persona.current.voice == voice
    assert persona.versions.get(number=1).role_prompt != "You count."


def test_a_new_name_alone_is_no_new_version(client, alice, persona, url):
    client.force_login(alice)
    client.post(url, {"name": "Eve", "role_prompt": persona.current.role_prompt})
    persona.refresh_from_db()
    assert (persona.name, persona.current.number) == ("Eve", 1)


def test_bad_fields_change_nothing(client, alice, persona, url):
    client.force_login(alice)
    response = client.post(url, {"name": "", "role_prompt": "You count."})
    assert response.status_code == 400
    assert persona.versions.count() == 1


def test_the_voice_can_be_removed(client, alice, persona, url):
    persona.revise(voice=VoiceFactory(owner=alice))
    client.force_login(alice)
    client.post(f"{url}voice/remove/")
    assert persona.current.voice is None


@pytest.mark.parametrize("last", ["failed", "encoding"])
def test_the_last_upload_is_told(client, alice, persona, upload, url, last):
    type(upload).objects.update(state=last, error_text="Too short, alas.", percent=40)
    client.force_login(alice)
    html = client.get(url).content.decode()
    assert ("Too short, alas." in html) and (f"/ws/voices/{upload.pk}/" in html) == (
        last == "encoding"
    )


@pytest.mark.parametrize("path", ["", "delete/", "voice/", "voice/remove/"])
def test_a_stranger_finds_nothing(client, bob, persona, url, path):
    client.force_login(bob)
    assert client.post(url + path, {"name": "Mine"}).status_code == 404
    assert persona.current.number == 1


def test_a_deleted_persona_is_gone(client, alice, persona, url):
    persona.delete_softly()
    client.force_login(alice)
    assert client.get(url).status_code == 404
