from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from conversations.models import Conversation
from inference.models import HardwareSample
from personaplex_site.models import SignIn
from personaplex_site.tasks import (
    end_abandoned_conversations,
    expire_hardware_samples,
    expire_sign_ins,
    expire_web_sessions,
)
from tests.factories import ConversationFactory, WorkerFactory

pytestmark = pytest.mark.django_db


def test_a_conversation_of_a_dead_web_process_gets_its_end():
    long_ago = timezone.now() - timedelta(minutes=5)
    ConversationFactory(alive_at=long_ago, ended_at=None, end_reason="")
    end_abandoned_conversations()
    assert Conversation.objects.get().end_reason == "web_lost"


def test_old_hardware_samples_go(settings):
    worker, now = WorkerFactory(), timezone.now()
    figures = dict.fromkeys(
        ["cpu_percent", "ram_used_mb", "ram_total_mb", "process_ram_mb"], 1.0
    )
    figures |= {"sessions": 0, "tick_p50_ms": 1, "tick_p99_ms": 1, "late_frames": 0}
    for days in (1, settings.HARDWARE_SAMPLE_DAYS + 1):
        at = now - timedelta(days=days)
        HardwareSample.objects.create(worker=worker, at=at, **figures)
    expire_hardware_samples()
    assert HardwareSample.objects.get().at > now - timedelta(days=2)


def test_old_sign_ins_go(settings):
    now = timezone.now()
    for days in (settings.SIGN_IN_LOG_DAYS - 1, settings.SIGN_IN_LOG_DAYS + 1):
        SignIn.objects.create(name=str(days), at=now - timedelta(days=days))
    expire_sign_ins()
    assert SignIn.objects.get().name == str(settings.SIGN_IN_LOG_DAYS - 1)


def test_and_the_oldest_beyond_so_many(settings):
    settings.SIGN_IN_LOG_ROWS = 3
    for i in range(5):
        SignIn.objects.create(name=str(i))
    expire_sign_ins()
    kept = SignIn.objects.order_by("pk").values_list("name", flat=True)
    assert list(kept) == ["2", "3", "4"]
    expire_sign_ins()
    assert SignIn.objects.count() == 3


def test_web_sessions_go_when_their_cookie_has_expired():
    now = timezone.now()
    for key, minutes in (("old", -1), ("current", 1)):
        at = now + timedelta(minutes=minutes)
        Session.objects.create(session_key=key, expire_date=at)
    expire_web_sessions()
    assert Session.objects.get().session_key == "current"
