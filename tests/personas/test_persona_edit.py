import pytest

from tests.factories import PersonaVersionFactory, VoiceFactory
from tests.personas.forms import filled_in


@pytest.fixture
def url(persona):
    return f"/personas/{persona.pk}/"


def save(client, url, **changes):
    """As the page sends it: with what it showed beside what was changed."""
    return client.post(url, {**filled_in(client.get(url)), **changes})


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
    save(client, url, role_prompt="You count.")
    assert persona.current.number == 3
    assert persona.current.role_prompt == "You count."
    assert persona.current.voice == voice
    assert persona.versions.get(number=1).role_prompt != "You count."


def test_a_new_name_alone_is_no_new_version(client, alice, persona, url):
    client.force_login(alice)
    save(client, url, name="Eve")
    persona.refresh_from_db()
    assert (persona.name, persona.current.number) == ("Eve", 1)


def test_bad_fields_change_nothing(client, alice, persona, url):
    client.force_login(alice)
    response = save(client, url, name="", role_prompt="You count.")
    assert response.status_code == 400
    assert persona.versions.count() == 1


def test_a_preset_is_chosen_without_an_upload(client, alice, persona, url, presets):
    client.force_login(alice)
    save(client, url, voice_choice=presets["NATM1"].pk)
    assert persona.current.voice == presets["NATM1"]
    page = client.get(url).content.decode()
    assert f'value="{presets["NATM1"].pk}" selected' in page
    assert "a voice that came with the model" in page


def test_the_voice_can_be_removed(client, alice, persona, url):
    persona.revise(voice=VoiceFactory(owner=alice))
    client.force_login(alice)
    save(client, url, voice_choice="")
    assert persona.current.voice is None


def test_a_voice_that_came_since_the_page_was_opened_stays(client, alice, persona, url):
    client.force_login(alice)
    page = filled_in(client.get(url))
    voice = VoiceFactory(owner=alice)
    persona.revise(voice=voice)
    client.post(url, {**page, "role_prompt": "You sing."})
    assert (persona.current.voice, persona.current.role_prompt) == (voice, "You sing.")


def test_the_preset_of_an_older_model_is_shown_as_that_of_today(
    client, alice, persona, url, presets
):
    old = VoiceFactory(owner=None, preset="NATF1", fingerprint="older")
    persona.revise(voice=old)
    client.force_login(alice)
    page = client.get(url).content.decode()
    assert f'value="{presets["NATF1"].pk}" selected' in page
    save(client, url)
    assert persona.current.voice == old
    assert persona.versions.count() == 2


def test_a_preset_that_the_model_lacks_is_reported(
    client, alice, persona, url, presets
):
    old = VoiceFactory(owner=None, preset="VARF4", fingerprint="older", name="Var F4")
    persona.revise(voice=old)
    client.force_login(alice)
    page = client.get(url).content.decode()
    assert "The voice “Var F4” came with another model" in page
    assert f'value="{old.pk}" selected>Var F4 (cannot be used now)' in page
    assert "Var F4: not in this model" in client.get("/").content.decode()


@pytest.mark.parametrize("whose", ["a stranger's", "deleted", "none"])
def test_what_one_may_not_use_is_refused(client, alice, bob, persona, url, whose):
    voice = VoiceFactory(owner=bob if whose == "a stranger's" else alice)
    if whose == "deleted":
        voice.erase(None)
    client.force_login(alice)
    response = save(client, url, voice_choice="x" if whose == "none" else voice.pk)
    assert response.status_code == 400
    assert "not there any more" in response.content.decode()
    assert persona.current.voice is None


@pytest.mark.parametrize("last", ["failed", "encoding"])
def test_the_last_upload_is_reported(client, alice, persona, upload, url, last):
    type(upload).objects.update(state=last, error_text="Too short, alas.", percent=40)
    client.force_login(alice)
    html = client.get(url).content.decode()
    assert ("Too short, alas." in html) and (f"/ws/voices/{upload.pk}/" in html) == (
        last == "encoding"
    )


@pytest.mark.parametrize("path", ["", "delete/", "voice/"])
def test_a_stranger_finds_nothing(client, bob, persona, url, path):
    client.force_login(bob)
    assert client.post(url + path, {"name": "Mine"}).status_code == 404
    assert persona.current.number == 1


def test_a_deleted_persona_is_gone(client, alice, persona, url):
    persona.delete_softly()
    client.force_login(alice)
    assert client.get(url).status_code == 404
