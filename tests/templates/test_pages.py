"""What every page keeps to, and the pages that have no script of their own."""

import re
from datetime import UTC, datetime

import pytest
from django.template.loader import render_to_string
from django.urls import reverse

from conversations.models import Conversation
from personas.models import Voice
from tests.factories import ConversationFactory, VoiceFactory, WorkerFactory

OUTSIDE = re.compile(r"""(?:src|href|action)=["'](?:https?:)?//""")


@pytest.fixture
def conversation(persona):
    return ConversationFactory(
        persona_version=persona.current, frames=750, path_p95_ms=43.7
    )


@pytest.fixture
def signed_in(client, alice):
    client.force_login(alice)
    return client


@pytest.fixture
def addresses(persona, conversation):
    return [
        reverse("persona_list"),
        reverse("persona_create"),
        reverse("persona_edit", args=[persona.pk]),
        reverse("conversation_talk", args=[persona.pk]),
        reverse("conversation_list"),
        reverse("conversation_detail", args=[conversation.pk]),
    ]


def test_pages_ask_for_nothing_outside_and_need_no_inline_script(signed_in, addresses):
    for address in addresses:
        response = signed_in.get(address)
        html = response.content.decode()
        assert response.status_code == 200, address
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert not OUTSIDE.search(html), address
        assert not re.search(r"\sstyle=|\son\w+=|<style", html), address
        inline = re.findall(r"<script(?![^>]*(?:\ssrc=|application/json))", html)
        assert not inline, address


def test_pages_have_one_heading_a_language_and_a_way_past_the_menu(
    signed_in, addresses
):
    for address in addresses:
        html = signed_in.get(address).content.decode()
        assert html.count("<h1") == 1, address
        assert '<html lang="en">' in html
        assert '<a class="skip" href="#main">' in html


def test_the_menu_shows_where_one_is_and_admin_only_to_staff(signed_in, alice, persona):
    talk = signed_in.get(reverse("conversation_talk", args=[persona.pk]))
    assert re.search(r'aria-current="page">Personas', talk.content.decode())
    listing = signed_in.get(reverse("conversation_list")).content.decode()
    assert re.search(r'aria-current="page">Conversations', listing)
    assert reverse("admin:index") not in listing
    alice.is_staff = True
    alice.save()
    listing = signed_in.get(reverse("conversation_list")).content.decode()
    assert reverse("admin:index") in listing


def test_what_a_version_is_is_said_where_its_number_is(
    signed_in, persona, conversation
):
    talk = reverse("conversation_talk", args=[persona.pk])
    for address in (talk, conversation.get_absolute_url()):
        page = signed_in.get(address).text
        assert 'makes one, too, when it is ready.">version 1</span>' in page


def test_the_list_shows_length_end_and_latency(signed_in, conversation):
    html = signed_in.get(reverse("conversation_list")).content.decode()
    assert "1:00" in html
    assert "p95 44 ms" in html
    assert "You ended the conversation" in html
    assert conversation.get_absolute_url() in html


def test_a_live_conversation_is_marked_in_the_list_and_on_its_page(signed_in, persona):
    live = ConversationFactory(
        persona_version=persona.current, ended_at=None, end_reason=""
    )
    for address in (reverse("conversation_list"), live.get_absolute_url()):
        html = signed_in.get(address).content.decode()
        assert '<span class="badge live">Live</span>' in html
    assert "Delete this conversation" not in html


def test_dates_have_one_format(admin_client, admin_user, conversation):
    """In UTC, until a script puts them into the reader's time zone and language."""
    moment = datetime(2026, 3, 4, 17, 6, tzinfo=UTC)
    voice = VoiceFactory(owner=admin_user)
    Voice.objects.filter(pk=voice.pk).update(created_at=moment)
    Conversation.objects.filter(pk=conversation.pk).update(started_at=moment)
    admin = reverse("admin:conversations_conversation_changelist")
    for address, shown in {
        reverse("voice_list"): "data-local>4 March 2026, 17:06 UTC</time>",
        reverse("conversation_detail", args=[conversation.pk]): (
            "data-local>4 March 2026, 17:06 UTC</time>"
        ),
        reverse("persona_create"): "s, 4 March 2026<",
        admin: "4 March 2026, 17:06",
    }.items():
        assert shown in admin_client.get(address).content.decode(), address
    data = reverse("conversation_data", args=[conversation.pk])
    assert admin_client.get(data).json()["started_at"] == "2026-03-04T17:06:00+00:00"


def test_an_empty_list_says_how_to_begin(signed_in):
    html = signed_in.get(reverse("conversation_list")).content.decode()
    assert "No conversations yet" in html


def test_what_a_person_wrote_is_escaped(signed_in, persona):
    persona.name = '<script>"'
    persona.save()
    html = signed_in.get(reverse("conversation_talk", args=[persona.pk])).content
    assert b"<script>&quot;" not in html
    assert b'data-name="&lt;script&gt;&quot;"' in html


def test_the_demonstration_model_is_named_before_the_start(signed_in, persona):
    WorkerFactory(trained=False)
    html = signed_in.get(reverse("conversation_talk", args=[persona.pk])).content
    assert re.search(rb'id="untrained">', html)


def test_the_small_trained_model_says_what_it_cannot_do(signed_in, persona):
    worker = WorkerFactory(trained=True, model="tiny")
    address = reverse("conversation_talk", args=[persona.pk])
    html = signed_in.get(address).content
    assert re.search(rb'id="small-model">', html)
    assert re.search(rb'id="untrained" hidden>', html)
    worker.model = "personaplex-7b"
    worker.save()
    assert re.search(rb'id="small-model" hidden>', signed_in.get(address).content)


def test_a_machine_too_slow_for_the_model_is_reported_before_the_start(
    signed_in, persona
):
    WorkerFactory(tick_p50_ms=95, tick_p99_ms=131)
    html = signed_in.get(reverse("conversation_talk", args=[persona.pk])).content
    assert b"This machine needs 131 ms for each 80 ms of sound" in html


def test_an_unknown_page_says_so(signed_in):
    response = signed_in.get("/nothing/")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "500"])
def test_error_pages_render_without_any_context(name):
    assert "Go to the start" in render_to_string(f"{name}.html")
