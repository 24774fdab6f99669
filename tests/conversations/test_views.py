"""Pages of conversations: who may see them and what they are given."""

import io
import json
from uuid import uuid4

import av
import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from conversations.models import Conversation, FrameChunk
from conversations.tasks import analyse_conversation
from tests.conversations.logged import write_log
from tests.factories import ConversationFactory, UserFactory, WorkerFactory


@pytest.fixture
def conversation(persona):
    conversation = ConversationFactory(persona_version=persona.current)
    return write_log(conversation, range(50), pieces=[(3, " Hello"), (4, "!")])


@pytest.fixture
def signed_in(client, alice):
    client.force_login(alice)
    return client


def addresses(conversation):
    key = [conversation.pk]
    return [
        reverse("conversation_detail", args=key),
        reverse("conversation_data", args=key),
        reverse("conversation_levels", args=key),
        *[
            reverse("conversation_recording", args=[*key, side])
            for side in ("user", "agent", "both")
        ],
    ]


def test_a_stranger_finds_nothing(client, bob, conversation):
    client.force_login(bob)
    for address in addresses(conversation):
        assert client.get(address).status_code == 404, address
    assert (
        client.post(reverse("conversation_delete", args=[conversation.pk])).status_code
        == 404
    )
    talk = reverse("conversation_talk", args=[conversation.persona_version.persona_id])
    assert client.get(talk).status_code == 404
    assert Conversation.objects.count() == 1


def test_who_is_not_signed_in_is_asked_to(client, conversation):
    for address in [*addresses(conversation), reverse("conversation_list")]:
        response = client.get(address)
        assert response.status_code == 302
        assert response["Location"].startswith("/sign-in/")


def test_staff_with_the_permission_look_but_do_not_delete(client, conversation):
    staff = UserFactory(is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    client.force_login(staff)
    for address in addresses(conversation):
        assert client.get(address).status_code in (200, 202), address
    page = client.get(addresses(conversation)[0])
    assert page.context["delete_url"] is None
    client.post(reverse("conversation_delete", args=[conversation.pk]))
    assert Conversation.objects.count() == 1


def test_the_data_is_what_the_page_was_promised(signed_in, conversation, alice):
    data = signed_in.get(reverse("conversation_data", args=[conversation.pk])).json()
    assert set(data) == {
        "conversation", "persona", "model", "started_at", "live", "duration_s",
        "end", "counts", "recordings", "transcript", "latency", "events",
        "client_metrics",
    }  # fmt: skip
    assert data["duration_s"] == 4.0
    assert data["end"] == {"reason": "user_ended", "text": "You ended the conversation"}
    assert data["transcript"][0]["text"] == "Hello!"
    assert data["latency"]["p50_ms"] > 0
    json.dumps(data, allow_nan=False)


def test_levels_are_asked_for_once_and_answered_when_they_are_there(
    signed_in, conversation, no_broker
):
    address = reverse("conversation_levels", args=[conversation.pk])
    for _ in range(3):
        response = signed_in.get(address)
        assert (response.status_code, response.json()) == (202, {"ready": False})
    assert no_broker == [
        ("conversations.tasks.analyse_conversation", [str(conversation.pk)])
    ]
    analyse_conversation(str(conversation.pk))
    levels = signed_in.get(address).json()
    assert (levels["ready"], levels["rate"]) == (True, 25.0)
    assert len(levels["user"]) == len(levels["agent"]) == 102
    assert max(levels["user"]) > 60


def test_no_levels_are_made_of_a_live_conversation(signed_in, persona, no_broker):
    live = ConversationFactory(
        persona_version=persona.current, ended_at=None, end_reason=""
    )
    address = reverse("conversation_levels", args=[live.pk])
    assert signed_in.get(address).status_code == 202
    assert no_broker == []


def test_without_a_broker_the_page_still_answers(signed_in, conversation, monkeypatch):
    from kombu.exceptions import OperationalError

    def away(*args, **options):
        raise OperationalError("no broker")

    monkeypatch.setattr("celery.app.base.Celery.send_task", away)
    address = reverse("conversation_levels", args=[conversation.pk])
    assert signed_in.get(address).json() == {"ready": False}


@pytest.mark.parametrize("bound", ["MB", "frames"])
def test_a_log_beyond_the_bound_is_explained(
    signed_in, conversation, settings, monkeypatch, bound
):
    if bound == "MB":
        settings.MAX_FRAME_LOG_MB = 0.001
    else:
        monkeypatch.setattr("conversations.frame_log.reader.MAX_FRAMES", 49)
    _, data, _, *recordings = addresses(conversation)
    answer = signed_in.get(data, headers={"Accept": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "frame_log_too_long"
    for address in recordings:
        answer = signed_in.get(address)
        assert answer.status_code == 422
        assert "too long to be shown or played" in answer.content.decode()


def test_a_live_conversation_has_no_end_yet(signed_in, persona):
    live = ConversationFactory(
        persona_version=persona.current, ended_at=None, end_reason=""
    )
    data = signed_in.get(reverse("conversation_data", args=[live.pk])).json()
    assert data["live"] is True
    assert data["end"] is None
    assert data["transcript"] == []
    assert data["latency"] is None


@pytest.mark.parametrize("side", ["user", "agent", "both"])
def test_a_recording_plays(signed_in, conversation, side):
    address = reverse("conversation_recording", args=[conversation.pk, side])
    response = signed_in.get(address)
    assert response["Content-Type"] == "audio/ogg"
    with av.open(io.BytesIO(response.content)) as container:
        assert container.duration == pytest.approx(4_080_000, abs=10_000)
        channels = container.streams.audio[0].codec_context.channels
        assert channels == (2 if side == "both" else 1)


def test_a_recording_can_be_downloaded(signed_in, conversation):
    address = reverse("conversation_recording", args=[conversation.pk, "both"])
    response = signed_in.get(address + "?download=1")
    assert response["Content-Disposition"].startswith('attachment; filename="conver')


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-99", 206, 0, 100),
        ("bytes=100-", 206, 100, None),
        ("bytes=-50", 206, -50, None),
        ("bytes=0-999999999", 206, 0, None),
        ("bytes=999999999-", 416, 0, 0),
        ("bytes=50-20", 416, 0, 0),
        ("bytes=" + "9" * 5_000 + "-", 200, 0, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("lines=1-2", 200, 0, None),
    ],
)
def test_a_part_of_a_recording_can_be_had(
    signed_in, conversation, wanted, status, start, end
):
    address = reverse("conversation_recording", args=[conversation.pk, "user"])
    whole = signed_in.get(address).content
    part = signed_in.get(address, headers={"Range": wanted})
    assert part.status_code == status
    assert part.content == whole[start:end]
    if status == 206:
        length = part["Content-Range"].split("/")[1]
        assert int(length) == len(whole)


def test_only_known_sides_have_recordings(signed_in, conversation):
    address = f"/conversations/{conversation.pk}/everybody.ogg"
    assert signed_in.get(address).status_code == 404


def test_the_owner_deletes_a_conversation_with_its_frames(signed_in, conversation):
    response = signed_in.post(reverse("conversation_delete", args=[conversation.pk]))
    assert response["Location"] == reverse("conversation_list")
    assert Conversation.objects.count() == FrameChunk.objects.count() == 0


def test_a_live_conversation_is_not_deleted(signed_in, persona):
    live = ConversationFactory(
        persona_version=persona.current, ended_at=None, end_reason=""
    )
    response = signed_in.post(reverse("conversation_delete", args=[live.pk]))
    assert response["Location"] == live.get_absolute_url()
    assert Conversation.objects.count() == 1


def test_a_parked_conversation_is_ended_from_its_page(signed_in, persona):
    """A browser that was lost: no process carries the talk."""
    parked = ConversationFactory(
        persona_version=persona.current,
        ended_at=None,
        end_reason="",
        parked_at=timezone.now(),
        parked_reason="network_lost",
    )
    response = signed_in.post(reverse("conversation_end", args=[parked.pk]))
    assert response["Location"] == parked.get_absolute_url()
    before, _ = parked.parked_at, parked.refresh_from_db()
    assert (parked.end_reason, parked.ended_at) == ("ended_elsewhere", before)


def test_only_its_owner_ends_a_conversation(client, bob, persona):
    live = ConversationFactory(
        persona_version=persona.current, ended_at=None, end_reason=""
    )
    root = UserFactory(is_staff=True, is_superuser=True)
    for other in (bob, root):
        client.force_login(other)
        address = reverse("conversation_end", args=[live.pk])
        assert client.post(address).status_code == 404
    page = client.get(live.get_absolute_url())
    assert page.context["end_url"] is None
    assert "End this conversation" not in page.text
    live.refresh_from_db()
    assert live.is_live
    assert not live.end_asked


def test_somebody_elses_conversation_is_not_yours(client, conversation):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    page = client.get(conversation.get_absolute_url()).text
    assert "The user ended the conversation" in page
    assert "<span>alice</span><input" in page
    assert "download>alice</a>" in page
    assert "You ended" not in page
    data = client.get(reverse("conversation_data", args=[conversation.pk])).json()
    assert data["end"]["text"] == "The user ended the conversation"
    admin = client.get("/admin/conversations/conversation/").text
    assert "The user ended the conversation" in admin


def test_the_page_of_a_live_conversation_shows_what_there_is_so_far(signed_in, persona):
    live = ConversationFactory(
        persona_version=persona.current, ended_at=None, end_reason=""
    )
    write_log(live, [*range(50), *range(51, 951)], path_us=70_000)
    page = signed_in.get(live.get_absolute_url()).text
    assert "/ 1:16</span>" in page
    assert 'data-duration="76.0"' in page
    for label, count in (("Frames", 950), ("Frames missing from the browser", 1)):
        assert f'<dt>{label}</dt><dd class="numbers">{count}</dd>' in page
    data = signed_in.get(reverse("conversation_data", args=[live.pk])).json()
    assert data["counts"]["frames"] == 950
    assert data["counts"]["missing"] == 1
    live.refresh_from_db()
    assert live.frames == 0


def test_deleting_takes_a_post(signed_in, conversation):
    address = reverse("conversation_delete", args=[conversation.pk])
    assert signed_in.get(address).status_code == 405


def test_the_list_has_only_my_own(signed_in, conversation):
    ConversationFactory()
    page = signed_in.get(reverse("conversation_list")).context["page"]
    assert list(page) == [conversation]


@pytest.mark.parametrize("key", ["nonsense", str(uuid4())])
def test_the_list_of_an_unknown_persona_is_empty(signed_in, conversation, key):
    response = signed_in.get(reverse("conversation_list"), {"persona": key})
    assert list(response.context["page"]) == []


def test_the_list_of_a_persona(signed_in, conversation, persona):
    response = signed_in.get(reverse("conversation_list"), {"persona": persona.pk})
    assert list(response.context["page"]) == [conversation]
    assert response.context["persona"] == persona


def test_the_list_takes_the_same_queries_however_long(
    signed_in, persona, django_assert_max_num_queries
):
    ConversationFactory.create_batch(30, persona_version=persona.current)
    with django_assert_max_num_queries(4):
        page = signed_in.get(reverse("conversation_list")).context["page"]
    assert len(page) == 25


def test_the_talk_page_knows_the_worker(signed_in, persona):
    address = reverse("conversation_talk", args=[persona.pk])
    assert signed_in.get(address).context["worker"] is None
    WorkerFactory(trained=False, sessions=1, context_frames=1_000, tick_p99_ms=21.5)
    WorkerFactory(slots=3, tick_p50_ms=120)
    worker = signed_in.get(address).context["worker"]
    assert worker["free"] == 4
    assert worker["slots"] == 5
    assert worker["too_slow"] is True
    assert worker["voice_problem"] == ""


def test_a_deleted_persona_is_not_talked_with(signed_in, persona):
    persona.delete_softly()
    address = reverse("conversation_talk", args=[persona.pk])
    assert signed_in.get(address).status_code == 404


def test_the_admin_lists_conversations(client, conversation):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    page = client.get("/admin/conversations/conversation/")
    assert page.status_code == 200
    assert conversation.get_absolute_url() in page.content.decode()
    one = client.get(f"/admin/conversations/conversation/{conversation.pk}/change/")
    assert one.status_code == 200
    assert client.get("/admin/conversations/conversation/add/").status_code == 403
