"""What a name is made of, wherever one is given."""

import pytest

from personas.names import visible
from tests.factories import UserFactory, VoiceFactory
from tests.personas.forms import filled_in


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Ada", "Ada"),
        ("\u202egnp.adA\u202c", "gnp.adA"),
        ("A\u200bd\u2060a\ufeff", "Ada"),
        ("\u2067Ada\u2069\u200e\u200f", "Ada"),
        ("Ada\tof\nLovelace\u00a0 I", "Ada of Lovelace I"),
        ("\u200dAda\u200c \u200d", "Ada"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Zoë 李 Ångström", "Zoë 李 Ångström"),
        ("\u202e\u200b", ""),
    ],
)
def test_invisible_characters_are_taken_out(given, kept):
    assert visible(given) == kept


def test_a_new_persona_and_an_edited_one_have_visible_names(client, alice):
    client.force_login(alice)
    url = client.post("/personas/new/", {"name": "\u202eAda\u200b"}).url
    assert alice.personas.get().name == "Ada"
    sent = {**filled_in(client.get(url), "persona-form"), "name": "Eve\u200f"}
    assert client.post(url, sent).status_code == 302
    assert alice.personas.get().name == "Eve"


def test_so_have_those_that_an_administrator_gives(client, alice, persona):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    things = [(persona, "persona"), (VoiceFactory(owner=alice), "voice")]
    for thing, kind in things:
        url = f"/admin/personas/{kind}/{thing.pk}/change/"
        fields = filled_in(client.get(url), f"{kind}_form")
        sent = client.post(url, {**fields, "name": "\u202eEve\u200b"})
        assert sent.status_code == 302
        thing.refresh_from_db()
        assert thing.name == "Eve"
        long = client.post(url, {**fields, "name": "n" * 121}).text
        assert "This name has 121 characters; it may have at most" in long
