from tests.factories import ConversationFactory


def test_it_asks_first(client, alice, persona):
    client.force_login(alice)
    html = client.get(f"/personas/{persona.pk}/delete/").content.decode()
    assert "Delete Ada?" in html
    persona.refresh_from_db()
    assert persona.deleted_at is None


def test_then_hides_it_and_keeps_its_conversations(client, alice, persona):
    talk = ConversationFactory(persona_version=persona.current)
    client.force_login(alice)
    response = client.post(f"/personas/{persona.pk}/delete/")
    assert response.headers["Location"] == "/"
    persona.refresh_from_db()
    talk.refresh_from_db()
    assert persona.deleted_at is not None
    assert talk.persona_version.persona == persona
