"""What a killed Celery worker leaves behind."""

import os
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from personas.models.upload import QUEUE_PATIENCE, VoiceUpload
from personas.tasks import clean_up_voices, prepare_voice, recover_uploads

pytestmark = pytest.mark.django_db(transaction=True)


def age(upload, **fields):
    VoiceUpload.objects.filter(pk=upload.pk).update(**fields)


@pytest.fixture
def long_ago():
    return timezone.now() - 2 * QUEUE_PATIENCE


def test_an_upload_whose_worker_was_killed_is_enqueued_again(
    upload, enqueued, long_ago
):
    VoiceUpload.claim(upload.pk)
    age(upload, lease_until=long_ago, enqueued_at=long_ago)
    recover_uploads()
    assert enqueued == [str(upload.pk)]


def test_and_then_becomes_a_voice(upload, enqueued, encoder, long_ago):
    VoiceUpload.claim(upload.pk)
    age(upload, lease_until=long_ago, enqueued_at=long_ago, percent=80)
    recover_uploads()
    prepare_voice(enqueued[0])
    upload.refresh_from_db()
    assert (upload.state, upload.attempts) == ("ready", 2)


def test_an_upload_that_never_reached_the_broker_is_enqueued(
    upload, enqueued, long_ago
):
    age(upload, enqueued_at=long_ago)
    recover_uploads()
    recover_uploads()
    assert enqueued == [str(upload.pk)]


def test_what_is_new_or_worked_on_or_finished_is_left_alone(
    persona, upload, enqueued, long_ago, recording
):
    recover_uploads()
    VoiceUpload.claim(upload.pk)
    age(upload, enqueued_at=long_ago)
    recover_uploads()
    age(upload, state=VoiceUpload.State.FAILED, lease_until=None)
    recover_uploads()
    assert enqueued == []


def test_what_a_killed_encoder_left_is_deleted(settings):
    fresh, old = settings.DATA_DIR / "encoding" / "a", settings.DATA_DIR / "encoding/b"
    for folder in (fresh, old):
        folder.mkdir(parents=True)
        (folder / "sample.f32").touch()
    os.utime(old, (0, 0))
    clean_up_voices()
    assert fresh.exists()
    assert not old.exists()


def test_failed_uploads_are_forgotten_after_a_day(upload, persona, recording):
    age(upload, state="failed", created_at=timezone.now() - timedelta(hours=25))
    fresh = VoiceUpload.receive(persona, ContentFile(recording, "x"))
    age(fresh, state="failed")
    clean_up_voices()
    assert list(VoiceUpload.objects.all()) == [fresh]
