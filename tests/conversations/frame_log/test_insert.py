"""A chunk goes into the log by one statement, or by the plain way: the same."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from conversations.errors import ConversationGone, EndReason, Superseded
from conversations.models import Conversation, FrameChunk
from conversations.models import conversation as rows
from tests.factories import ConversationFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["at once", "plainly"])
def way(request, monkeypatch):
    if request.param == "plainly":
        monkeypatch.setattr(rows, "insert_chunk", lambda *given: False)
    return request.param


@pytest.fixture
def live():
    early = timezone.now() - timedelta(seconds=20)
    return ConversationFactory(
        ended_at=None, end_reason="", lease=uuid.uuid4(), alive_at=early
    )


def chunk_of(conversation, first=40):
    return FrameChunk(
        conversation=conversation,
        first_frame=first,
        frames=20,
        tokens=bytes(range(256)) * 2,
        user_packets=b"\x00\xff'\\%s" * 9,
        agent_packets=b"agent",
        timings=b"",
        pieces=[[41, " it’s"], [42, '"%s"']],
    )


def test_every_column_is_stored(live, way):
    before = live.alive_at
    live.append(chunk_of(live), repeated=False)

    stored, wanted = live.chunks.get(), chunk_of(live)
    for field in FrameChunk._meta.concrete_fields:
        if not field.primary_key:
            value = getattr(stored, field.attname)
            value = bytes(value) if isinstance(value, memoryview) else value
            assert value == getattr(wanted, field.attname), field.name
    live.refresh_from_db()
    assert live.alive_at > before


def test_somebody_else_holds_the_conversation(live, way):
    Conversation.objects.update(lease=uuid.uuid4())
    with pytest.raises(Superseded):
        live.append(chunk_of(live), repeated=False)
    assert not FrameChunk.objects.exists()


def test_the_conversation_has_ended(live, way):
    live.finish(EndReason.USER_ENDED)
    with pytest.raises(ConversationGone):
        live.append(chunk_of(live), repeated=False)
    assert not FrameChunk.objects.exists()


def test_a_guess_of_the_sweep_is_taken_back(live, way):
    assert live.give_up()
    live.append(chunk_of(live), repeated=False)
    live.refresh_from_db()
    assert (live.ended_at, live.end_reason) == (None, "")
    assert live.chunks.count() == 1


def test_a_repeated_chunk_is_there_once(live, way):
    live.append(chunk_of(live), repeated=False)
    live.append(chunk_of(live), repeated=True)
    assert live.chunks.count() == 1


def test_changes_are_written_too(live, way):
    live.append(chunk_of(live), repeated=False, moves=3)
    live.refresh_from_db()
    assert (live.moves, live.chunks.count()) == (3, 1)


def test_one_query_is_enough(live, django_assert_num_queries):
    """Django does not see ours, and so must see none."""
    with django_assert_num_queries(0):
        live.append(chunk_of(live), repeated=False)
    assert live.chunks.count() == 1
