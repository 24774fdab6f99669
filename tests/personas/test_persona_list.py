import pytest

from tests.factories import PersonaFactory, PersonaVersionFactory, VoiceFactory


@pytest.fixture
def page(client, alice):
    client.force_login(alice)
    return lambda: client.get("/").content.decode()


def test_it_shows_my_personas_with_a_button_to_talk(page, persona):
    html = page()
    assert "Ada" in html
    assert f"/conversations/talk/{persona.pk}/" in html
    assert f"/personas/{persona.pk}/" in html


def test_it_shows_the_latest_version(page, persona, alice):
    voice = VoiceFactory(owner=alice)
    PersonaVersionFactory(
        persona=persona, number=2, role_prompt="You sing.", voice=voice
    )
    html = page()
    assert "You sing." in html
    assert "Own recording" in html
    assert "/voices/" in html


def test_it_shows_nothing_of_others_and_nothing_deleted(page, persona, bob):
    PersonaFactory(owner=bob, name="Bobs persona")
    persona.delete_softly()
    html = page()
    assert "Bobs persona" not in html
    assert "Ada" not in html
    assert "No personas yet" in html


def test_names_are_text_and_not_markup(page, alice):
    PersonaFactory(owner=alice, name="<script>alert(1)</script>")
    assert "<script>alert" not in page()


def test_it_asks_the_database_a_constant_number_of_times(
    client, alice, presets, django_assert_max_num_queries
):
    for persona in PersonaFactory.create_batch(20, owner=alice):
        persona.revise(voice=presets["NATF0"])
    client.force_login(alice)
    with django_assert_max_num_queries(7):
        client.get("/")


def test_it_needs_a_signed_in_person(client, db):
    assert client.get("/").headers["Location"] == "/sign-in/?next=/"
