"""Somebody with ten thousand of everything gets pages as small as anybody, and as
cheap."""

import re
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conversations.models import Conversation
from personas.models import Persona, PersonaVersion, Voice
from tests.factories import ConversationFactory, UserFactory, VoiceFactory

MANY, VOICES = 10_000, 1_000
MAX_BYTES, MAX_ADMIN_BYTES = 200_000, 300_000

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    monkeypatch.setattr("celery.app.base.Celery.send_task", lambda *args, **kw: None)


@pytest.fixture
def voice(alice, persona):
    voice = VoiceFactory(owner=alice)
    persona.revise(voice=voice)
    return voice


@pytest.fixture
def conversation(persona, voice):
    return ConversationFactory(persona_version=persona.current)


def multiply(owner, voice):
    """Names as long as they may be, and everybody speaks with one voice."""
    voices = [
        Voice(owner=owner, name=f"{n:04}" + "&" * 76, seconds=5, fingerprint="m")
        for n in range(VOICES)
    ]
    Voice.objects.bulk_create(voices)
    personas = [Persona(owner=owner, name=f"{n:05}" + "<" * 75) for n in range(MANY)]
    Persona.objects.bulk_create(personas)
    versions = [
        PersonaVersion(persona=p, number=1, role_prompt="ä" * 2000, voice=voice)
        for p in personas
    ]
    PersonaVersion.objects.bulk_create(versions)
    now = timezone.now()
    about = {"worker_name": "w", "model": "tiny", "fingerprint": "m", "alive_at": now}
    ended = {"ended_at": now, "end_reason": "user_ended"}
    Conversation.objects.bulk_create(
        Conversation(owner=owner, persona_version=v, **about, **ended) for v in versions
    )


def test_every_page_stays_small_and_asks_no_more_often(
    client, alice, persona, voice, conversation
):
    root = UserFactory(is_staff=True, is_superuser=True)
    pages = [
        *("/", "/?page=2", "/?q=a", "/personas/new/", "/voices/", "/voices/?for=new"),
        *(f"/personas/{persona.pk}/", f"/personas/{persona.pk}/delete/"),
        *(f"/voices/?for={persona.pk}", f"/voices/{voice.pk}/delete/"),
        *("/conversations/", f"/conversations/?persona={persona.pk}"),
        *(f"/conversations/{conversation.pk}/", f"/conversations/talk/{persona.pk}/"),
    ]
    admin = "/admin/conversations/conversation/", "/admin/personas/persona/"
    admin += "/admin/personas/voice/", f"/admin/personas/voice/{voice.pk}/change/"
    admin += (f"/admin/auth/user/{alice.pk}/change/",)

    def look():
        found = {}
        for user, addresses in ((alice, pages), (root, admin)):
            client.force_login(user)
            for address in addresses:
                with CaptureQueriesContext(
                    connection,
                ) as queries:
                    response = client.get(address)
                assert response.status_code == 200, address
                found[address] = len(queries), len(response.content)
        return found

    look()  # what is cached for all is cached
    few = look()
    multiply(alice, voice)
    many = look()
    for address, (queries, size) in many.items():
        if address in pages:
            assert size < MAX_BYTES, f"{address}: {size} bytes"
            # A choice that leaves voices out looks up the persona's own.
            assert queries <= few[address][0] + 1, address
        else:
            assert size < MAX_ADMIN_BYTES, f"{address}: {size} bytes"
            assert queries == few[address][0], address


def test_the_list_is_paged_and_searched_by_name(client, alice, settings):
    settings.PERSONAS_PER_PAGE = 3
    for name in ("Ann", "Bea", "Cleo", "Dora", "Anneke", "Flo", "Gus"):
        Persona.begin(alice, name, "")
    client.force_login(alice)

    def names(address):
        return [p.name for p in client.get(address).context["page"]]

    assert names("/") == ["Ann", "Anneke", "Bea"]
    assert names("/?page=2") == ["Cleo", "Dora", "Flo"]
    assert names("/?page=99") == names("/?page=3") == ["Gus"]
    assert names("/?page=-1") == names("/?page=3")
    assert names("/?page=" + "9" * 5000) == names("/?page=x") == names("/")
    assert names("/?q=aNN") == ["Ann", "Anneke"]
    assert names("/?q=%25") == []
    html = client.get("/?q=a&page=2").text
    assert re.search(r'rel="prev" href="\?q=a&amp;page=1"', html)
    assert "No persona of that name" in client.get("/?q=zzz").text


def test_older_voices_are_chosen_on_the_page_of_all(client, alice, persona, settings):
    settings.MAX_VOICE_CHOICES = 2
    oldest, *_ = voices = [VoiceFactory(owner=alice, name=f"v{n}") for n in range(4)]
    client.force_login(alice)
    page = client.get(f"/personas/{persona.pk}/").text
    assert [str(v.pk) in page for v in voices] == [False, False, True, True]
    assert f'href="/voices/?for={persona.pk}"' in page
    choose = f"/personas/{persona.pk}/voice/{oldest.pk}/"
    assert f'action="{choose}"' in client.get(f"/voices/?for={persona.pk}").text
    assert client.post(choose)["Location"] == f"/personas/{persona.pk}/"
    assert persona.current.voice == oldest
    page = client.get(f"/personas/{persona.pk}/").text
    assert f'value="{oldest.pk}" selected' in page
    assert "cannot be used now" not in page
    assert "/voices/?for=new" in client.get("/personas/new/").text
    link = f"/personas/new/?voice={oldest.pk}"
    assert f'href="{link}"' in client.get("/voices/?for=new").text
    assert f'value="{oldest.pk}" selected' in client.get(link).text


def test_only_own_voices_can_be_chosen(client, alice, bob, persona):
    client.force_login(alice)
    for voice in (VoiceFactory(owner=bob), VoiceFactory(owner=None, preset="NATF0")):
        address = f"/personas/{persona.pk}/voice/{voice.pk}/"
        assert client.post(address).status_code == 404
        assert str(voice.pk) not in client.get(f"/personas/new/?voice={voice.pk}").text
    for odd in ("x", uuid.uuid4(), "%01"):
        assert client.get(f"/personas/new/?voice={odd}").status_code == 200
        assert client.get(f"/voices/?for={odd}").status_code == 200


def test_a_voice_of_many_personas_names_a_few(client, alice, voice):
    client.force_login(alice)
    for n in range(6):
        Persona.begin(alice, f"Nora {n}", "", voice)
    page = client.get("/voices/").text
    assert "Nora 3</a> and 2 more" in page
    assert "</strong> and 2 more will speak" in client.get(
        f"/voices/{voice.pk}/delete/"
    ).text.replace("\n", "")
