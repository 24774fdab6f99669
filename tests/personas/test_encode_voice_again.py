"""A voice prompt fits one model: another model has it made again."""

import pytest
from celery import current_app

from inference.errors import ModelError
from personas.encoding import Encoded
from personas.models import Voice
from personas.tasks import encode_voice_again, prepare_voice

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def voice(upload, encoder):
    prepare_voice(str(upload.pk))
    upload.refresh_from_db()
    return upload.voice


@pytest.fixture
def sent(monkeypatch):
    tasks = []
    monkeypatch.setattr(current_app, "send_task", lambda *task: tasks.append(task))
    return tasks


def test_a_current_voice_is_ready(voice, sent):
    assert voice.ready_for("model-1")
    assert sent == []


def test_asking_for_another_model_enqueues_one_task(voice, sent):
    assert not voice.ready_for("model-9")
    assert not Voice.objects.get().ready_for("model-9")
    assert sent == [("personas.tasks.encode_voice_again", [str(voice.pk), "model-9"])]


def test_the_kept_sample_is_encoded_again(voice, sent, monkeypatch, files_left):
    heard = []

    def encode(pcm, progress, fingerprint):
        heard.append(len(pcm))
        return Encoded(b"for model 9", fingerprint)

    monkeypatch.setattr("personas.tasks.encode", encode)
    voice.ready_for("model-9")
    encode_voice_again(str(voice.pk), "model-9")
    voice.refresh_from_db()
    assert voice.ready_for("model-9")
    assert voice.prompt.read() == b"for model 9"
    assert heard == [round(voice.seconds * 24_000)]
    assert files_left() == ["prompts", "samples"]


def test_a_failure_leaves_the_old_prompt_and_may_be_tried_again(
    voice, sent, monkeypatch
):
    def encode(pcm, progress, fingerprint):
        raise ModelError("no memory")

    monkeypatch.setattr("personas.tasks.encode", encode)
    voice.ready_for("model-9")
    encode_voice_again(str(voice.pk), "model-9")
    voice.refresh_from_db()
    assert voice.fingerprint == "model-1"
    assert voice.prompt.read() == b"a voice prompt"
    assert not voice.ready_for("model-9")
    assert len(sent) == 2


def test_only_a_worker_with_that_model_is_asked(voice, encoder, monkeypatch):
    encoder.calls.clear()
    here = Encoded(b"", "model-2")
    monkeypatch.setattr("personas.encoding.encode_here", lambda pcm, progress: here)
    encode_voice_again(str(voice.pk), "model-9")
    assert encoder.calls == []
    voice.refresh_from_db()
    assert voice.fingerprint == "model-1"
