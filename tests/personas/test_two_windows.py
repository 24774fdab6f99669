"""The same persona in two windows: the second save undoes nothing."""

import threading

import pytest
from django.db import connection

from personas.editing import Loaded
from personas.models import ChangedMeanwhile, Persona
from tests.factories import VoiceFactory
from tests.personas.forms import filled_in

OLD, NEW = "You enjoy having a good conversation.", "You bake bread."


@pytest.fixture
def url(persona):
    return f"/personas/{persona.pk}/"


@pytest.fixture
def window(client, alice, url):
    """The fields of a page that has just been opened."""
    client.force_login(alice)
    return lambda: filled_in(client.get(url))


@pytest.fixture
def send(client, url):
    return lambda page, **changes: client.post(url, {**page, **changes})


def test_a_name_from_an_older_page_doesnt_put_the_old_prompt_back(
    window, send, persona
):
    first, second = window(), window()
    assert send(first, role_prompt=NEW).status_code == 302
    answer = send(second, name="Eve")
    assert answer.status_code == 409
    assert persona.current.role_prompt == NEW
    page = answer.content.decode()
    assert "changed since you opened this page" in page
    assert OLD in page and NEW in page
    shown = filled_in(answer)
    assert shown["keep-role_prompt"] == ["saved"]
    assert (shown["name"], shown["role_prompt"]) == (["Eve"], [OLD])
    assert "keep-name" not in shown

    assert send(shown).status_code == 302
    persona.refresh_from_db()
    assert (persona.name, persona.current.role_prompt) == ("Eve", NEW)
    assert persona.current.number == 2


def test_both_prompts_are_shown_and_either_can_be_kept(window, send, persona):
    first, second = window(), window()
    send(first, role_prompt=NEW)
    shown = filled_in(send(second, role_prompt="You sing."))
    assert shown["keep-role_prompt"] == ["mine"]
    assert persona.current.role_prompt == NEW
    send(shown, role_prompt="You sing and bake.")
    assert persona.current.role_prompt == "You sing and bake."
    texts = persona.versions.order_by("number").values_list("role_prompt", flat=True)
    assert list(texts) == [OLD, NEW, "You sing and bake."]


def test_a_third_save_meanwhile_is_noticed_as_well(window, send, persona):
    first, second = window(), window()
    send(first, role_prompt=NEW)
    shown = filled_in(send(second, role_prompt="You sing."))
    send(window(), role_prompt="You paint.")
    again = send(shown)
    assert again.status_code == 409
    assert "You paint." in again.text and "You sing." in again.text


def test_two_names_conflict_too(window, send, persona):
    first, second = window(), window()
    send(first, name="Eve")
    answer = send(second, name="Zoe")
    assert answer.status_code == 409
    shown = filled_in(answer)
    assert (shown["keep-name"], shown["name"]) == (["mine"], ["Zoe"])
    send(shown, **{"keep-name": "saved"})
    persona.refresh_from_db()
    assert persona.name == "Eve"


def test_two_voices_conflict_too(window, send, persona, alice):
    ours, theirs = VoiceFactory(owner=alice), VoiceFactory(owner=alice, name="Theirs")
    first, second = window(), window()
    send(first, voice_choice=theirs.pk)
    answer = send(second, voice_choice=ours.pk)
    assert answer.status_code == 409
    assert persona.current.voice == theirs
    shown = filled_in(answer)
    assert shown["voice_choice"] == [str(ours.pk)]
    assert "Theirs" in answer.text
    send(shown, **{"keep-voice_choice": "saved"})
    assert persona.current.voice == theirs
    send(shown)
    assert persona.current.voice == ours


def test_what_both_changed_alike_is_no_conflict(window, send, persona):
    first, second = window(), window()
    send(first, role_prompt=NEW, name="Eve")
    assert send(second, role_prompt=NEW, name="Eve").status_code == 302
    assert persona.current.number == 2


def test_a_conflict_is_shown_though_the_voice_came_meanwhile(
    window, send, persona, alice
):
    page = window()
    voice = VoiceFactory(owner=alice)
    persona.revise(voice=voice, role_prompt=NEW)
    shown = filled_in(send(page, role_prompt="You sing."))
    assert shown["voice_choice"] == shown["initial-voice_choice"] == [str(voice.pk)]
    send(shown)
    assert persona.current.voice == voice
    assert persona.current.role_prompt == "You sing."


@pytest.mark.parametrize("loaded", ["", "{}", "[1]", "[0, -1, 3]", "[" * 9999, "[0]x"])
def test_a_page_that_says_not_what_it_showed_replaces_nothing(
    window, send, persona, loaded
):
    page = window()
    answer = send(page, loaded=loaded, role_prompt="You sing.")
    assert answer.status_code == 409
    assert persona.current.role_prompt == OLD
    assert "You sing." in answer.text


def test_what_was_written_for_a_deleted_persona_makes_a_new_one(
    window, send, persona, client, alice
):
    page = window()
    voice = VoiceFactory(owner=alice)
    persona.delete_softly()
    answer = send(page, role_prompt="You sing.", voice_choice=voice.pk)
    assert answer.status_code == 409
    assert "was deleted since you opened its page" in answer.text
    assert 'action="/personas/new/"' in answer.text
    shown = filled_in(answer)
    assert client.post("/personas/new/", shown).status_code == 302
    new = Persona.objects.of(alice).get()
    assert (new.name, new.current.role_prompt) == ("Ada", "You sing.")
    assert new.current.voice == voice


def test_a_stranger_is_offered_nothing(client, bob, persona, url):
    persona.delete_softly()
    client.force_login(bob)
    assert client.post(url, {"name": "Ada", "role_prompt": "x"}).status_code == 404


def test_an_edit_counts_only_from_the_newest_state(persona):
    persona.edit(0, "Eve", role_prompt=NEW)
    with pytest.raises(ChangedMeanwhile):
        persona.edit(0, "Zoe", role_prompt="You sing.")
    persona.refresh_from_db()
    assert (persona.name, persona.edits) == ("Eve", 1)
    assert persona.current.role_prompt == NEW


@pytest.mark.django_db(transaction=True)
def test_of_edits_at_the_same_moment_one_is_saved(persona):
    gate, saved = threading.Barrier(6), []

    def edit(number):
        gate.wait()
        try:
            persona.edit(0, f"Name {number}", role_prompt=f"Prompt {number}")
            saved.append(number)
        except ChangedMeanwhile:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=edit, args=[n]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(saved) == 1
    persona.refresh_from_db()
    assert persona.name == f"Name {saved[0]}"
    assert persona.current.role_prompt == f"Prompt {saved[0]}"


def test_what_a_form_was_filled_with_survives_its_way(persona):
    loaded = Loaded(3, 2, 'He said "<b>é…"')
    assert Loaded.parse(loaded.as_json()) == loaded
