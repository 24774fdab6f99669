from datetime import timedelta

import pytest
from django.utils import timezone

from conversations.models import Conversation
from inference.models import HardwareSample
from personaplex_site.tasks import end_abandoned_conversations, expire_hardware_samples
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
