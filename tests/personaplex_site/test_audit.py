"""Who may see what belongs to others: by permission only, and never unrecorded."""

import logging
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.urls import reverse
from django.utils import timezone

from conversations.models import Conversation
from personaplex_site.audit import LOOK, ONCE_IN
from personaplex_site.tasks import expire_audit_records
from tests.conversations.logged import write_log
from tests.factories import ConversationFactory, UserFactory, VoiceFactory


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    monkeypatch.setattr("celery.app.base.Celery.send_task", lambda *args, **kw: None)


@pytest.fixture
def staff(db):
    return UserFactory(username="sam", is_staff=True)


def allow(user, *names):
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))


@pytest.fixture(params=["ended", "live"])
def conversation(persona, request):
    live = {"ended_at": None, "end_reason": ""} if request.param == "live" else {}
    conversation = ConversationFactory(persona_version=persona.current, **live)
    return write_log(conversation, range(25))


def looks(conversation):
    key = [conversation.pk]
    yield reverse("conversation_detail", args=key)
    yield reverse("conversation_data", args=key)
    for side in ("user", "agent", "both"):
        yield reverse("conversation_recording", args=[*key, side])


def recorded():
    entries = LogEntry.objects.filter(action_flag=LOOK).order_by("pk")
    return [(e.user.username, e.object_repr, e.change_message) for e in entries]


def test_staff_without_the_permission_are_strangers(client, staff, conversation):
    allow(staff, "view_persona", "view_voice", "add_conversation")
    client.force_login(staff)
    for address in looks(conversation):
        assert client.get(address).status_code == 404, address
    assert recorded() == []


def test_the_permission_alone_is_not_enough(client, bob, conversation):
    """Who is no longer staff gets into neither the admin nor this."""
    allow(bob, "view_conversation")
    client.force_login(bob)
    assert client.get(conversation.get_absolute_url()).status_code == 404


@pytest.mark.parametrize("right", ["view_conversation", "change_conversation"])
def test_with_it_they_look_and_every_look_is_recorded_once(
    client, staff, conversation, right, caplog
):
    """For each person, object, kind of look and hour."""
    allow(staff, right)
    client.force_login(staff)
    with caplog.at_level(logging.INFO):
        for address in [*looks(conversation), *looks(conversation)]:
            assert client.get(address).status_code == 200, address
    shown = f"alice: {conversation}"
    assert recorded() == [
        ("sam", shown, "Read the conversation"),
        ("sam", shown, "Listened to the recording"),
    ]
    assert f"sam: conversation {conversation.pk} of alice: Read" in caplog.text
    LogEntry.objects.update(action_time=timezone.now() - ONCE_IN)
    client.get(conversation.get_absolute_url())
    assert len(recorded()) == 3


def test_the_page_says_whose_it_is_and_that_the_look_is_recorded(
    client, staff, conversation
):
    allow(staff, "view_conversation")
    client.force_login(staff)
    page = client.get(conversation.get_absolute_url()).content.decode()
    assert "a conversation of alice. Your visit has been recorded." in page
    assert "Talk again" not in page
    assert 'preload="none"' in page, "not played yet"


def test_owners_leave_no_record(client, alice, conversation):
    client.force_login(alice)
    for address in looks(conversation):
        assert client.get(address).status_code == 200
    assert "Your visit" not in client.get(next(looks(conversation))).content.decode()
    assert recorded() == []


def test_what_cant_be_recorded_isnt_shown(client, staff, conversation, monkeypatch):
    allow(staff, "view_conversation")
    client.force_login(staff)

    def fail(**fields):
        raise RuntimeError("no record")

    monkeypatch.setattr(LogEntry.objects, "create", fail)
    client.raise_request_exception = False
    for address in looks(conversation):
        assert client.get(address).status_code == 500, address


def test_voice_samples_keep_to_the_same_rule(client, staff, alice, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    voice = VoiceFactory(owner=alice, name="Ada")
    voice.sample.save("a.flac", ContentFile(b"fLaC"))
    address = reverse("voice_sample", args=[voice.pk])
    client.force_login(staff)
    allow(staff, "view_conversation")
    assert client.get(address).status_code == 404
    allow(staff, "view_voice")
    for _ in range(2):
        assert client.get(address).content == b"fLaC"
    assert recorded() == [("sam", "alice: Ada", "Listened to the sample")]
    client.force_login(alice)
    assert client.get(address).status_code == 200
    assert len(recorded()) == 1


def test_a_conversation_looked_at_in_the_admin_is_recorded(client, staff, conversation):
    allow(staff, "view_conversation")
    client.force_login(staff)
    client.get(f"/admin/conversations/conversation/{conversation.pk}/change/")
    assert [what for *_, what in recorded()] == ["Looked at it in the admin"]


def test_administrators_see_the_records_and_change_none(client, staff, conversation):
    allow(staff, "view_conversation")
    client.force_login(staff)
    client.get(conversation.get_absolute_url())
    assert client.get("/admin/admin/logentry/").status_code == 403
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    page = client.get("/admin/admin/logentry/?kind=looks").content.decode()
    assert "sam" in page
    assert "Read the conversation" in page
    assert "Read the" not in client.get("/admin/admin/logentry/?kind=changes").text
    one = f"/admin/admin/logentry/{LogEntry.objects.get().pk}/"
    assert client.get(one + "change/").status_code == 200
    assert client.post(one + "change/", {"object_repr": "-"}).status_code == 403
    assert client.post(one + "delete/", {"post": "yes"}).status_code == 403


def test_records_go_after_their_time_and_other_entries_stay(
    staff, conversation, settings
):
    old = timezone.now() - timedelta(days=settings.AUDIT_DAYS + 1)
    for flag, at in ((LOOK, old), (LOOK, timezone.now()), (1, old)):
        LogEntry.objects.create(user=staff, action_flag=flag, action_time=at)
    expire_audit_records()
    kept = LogEntry.objects.order_by("action_flag").values_list("action_flag", "pk")
    assert [flag for flag, _ in kept] == [1, LOOK]
    assert Conversation.objects.count() == 1
