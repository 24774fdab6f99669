"""The task, from the uploaded file to the persona's new voice, and every way out."""

import hashlib
import io
import uuid
from datetime import timedelta

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from inference.errors import NoWorker, WorkerLost
from personas import tasks
from personas.decoding import decode
from personas.decoding_apart import decode_apart
from personas.encoding import Encoded
from personas.errors import NotPrepared
from personas.models import Voice
from personas.models.upload import LEASE, VoiceUpload
from personas.tasks import prepare_voice
from tests import sounds
from tests.factories import WorkerFactory

State = VoiceUpload.State
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receive(persona):
    def receive(data):
        return VoiceUpload.receive(persona, ContentFile(data, "file"))

    return receive


def run(upload):
    prepare_voice(str(upload.pk))
    upload.refresh_from_db()


def test_the_persona_gets_a_new_version_with_the_voice(
    persona, upload, encoder, files_left, settings
):
    settings.WORKER_SECRET = "the secret"
    run(upload)
    assert (upload.state, upload.percent, upload.error_text) == (State.READY, 100, "")
    voice = upload.voice
    assert persona.current.number == 2
    assert persona.current.voice == voice
    assert persona.current.role_prompt == persona.versions.get(number=1).role_prompt
    assert voice.owner == persona.owner
    assert voice.prompt.read() == b"a voice prompt"
    assert voice.digest == hashlib.sha256(b"a voice prompt").hexdigest()
    assert voice.fingerprint == "model-1"
    assert 11 < voice.seconds <= 12
    [(url, secret, pcm, fingerprint)] = encoder.calls
    assert (url, secret, fingerprint) == ("ws://worker", "the secret", "model-1")
    assert (decode(io.BytesIO(voice.sample.read()), 60).sound == pcm).all()
    assert files_left() == ["prompts", "samples"]


@pytest.mark.parametrize("kind", sounds.FORMATS)
def test_every_format_becomes_a_voice(receive, encoder, kind):
    upload = receive(sounds.encode(sounds.speech(6), kind))
    run(upload)
    assert upload.state == State.READY, upload.error_text


def interview():
    speech = sounds.speech(8)
    left = np.arange(len(speech)) // 48_000 % 2 == 0
    return sounds.encode(np.where([left, ~left], speech, 0), "flac", layout="stereo")


def test_what_was_noticed_about_channels_is_said_with_the_voice(receive, encoder):
    upload = receive(interview())
    run(upload)
    assert upload.state == State.READY
    assert "Each channel of this recording holds another speaker" in upload.warning


def test_the_channel_that_was_chosen_becomes_the_voice(persona, encoder):
    upload = VoiceUpload.receive(persona, ContentFile(interview(), "file"), "right")
    run(upload)
    assert (upload.state, upload.warning) == (State.READY, "")
    [(_, _, pcm, _)] = encoder.calls
    assert len(pcm) / 24_000 < 6.5  # the left one speaks first


def long_tone():
    return sounds.encode(sounds.tone(75), "mp3")


def noise_with_a_good_beginning():
    return b"OggS" + bytes(range(256)) * 200


BAD = {
    "not_audio": (lambda: b"Dear Sir or Madam, " * 50, "WAV, FLAC, MP3"),
    "not_audio, by its content": (noise_with_a_good_beginning, "WAV, FLAC, MP3"),
    "silent": (
        lambda: sounds.encode(sounds.silence(6), "flac"),
        "Check the microphone",
    ),
    "too_short": (lambda: sounds.encode(sounds.speech(1.2)), "1.2 s long"),
    "too_long": (long_tone, "75 s long; a voice sample may have at most 60 s"),
    "too_little_speech": (
        lambda: sounds.encode(
            [*sounds.silence(4), *sounds.speech(1), *sounds.silence(4)]
        ),
        "at least 3 s",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_leaves_the_persona_and_the_disk_as_they_were(
    persona, receive, encoder, files_left, case
):
    make, says = BAD[case]
    upload = receive(make())
    run(upload)
    assert upload.state == State.FAILED
    assert upload.error_code == case.split(",")[0]
    assert says in upload.error_text
    assert upload.finished_at is not None
    assert persona.current.number == 1
    assert Voice.objects.count() == 0
    assert encoder.calls == []
    assert files_left() == []


def test_a_clipped_recording_is_taken_with_a_warning(receive, encoder):
    loud = (30 * sounds.speech(6)).clip(-1, 1)
    upload = receive(sounds.encode(loud, "flac"))
    run(upload)
    assert upload.state == State.READY
    assert "overdriven" in upload.warning


def test_the_next_worker_is_asked_when_one_goes_away(upload, encoder):
    WorkerFactory(url="ws://other", fingerprint="model-1")
    encoder.errors = [WorkerLost("gone")]
    run(upload)
    assert upload.state == State.READY
    assert len({url for url, *_ in encoder.calls}) == 2


def test_without_a_worker_it_is_encoded_here(upload, encoder, monkeypatch):
    encoder.errors = [NoWorker("refused")]
    here = Encoded(b"made here", "model-2")
    monkeypatch.setattr("personas.encoding.encode_here", lambda pcm, progress: here)
    run(upload)
    assert upload.voice.prompt.read() == b"made here"
    assert upload.voice.fingerprint == "model-2"


def test_an_unexpected_failure_is_ours_and_is_logged(
    persona, upload, encoder, files_left, caplog
):
    encoder.errors = [RuntimeError("the shape of things")]
    run(upload)
    assert upload.state == State.FAILED
    assert upload.error_text.startswith("Something went wrong on our side")
    assert "the shape of things" in caplog.text
    assert persona.current.number == 1
    assert files_left() == []


def test_a_missing_file_is_ours_too(upload, encoder, media):
    (media / upload.original.name).unlink()
    run(upload)
    assert upload.error_code == "internal"


def test_a_second_run_does_nothing(persona, upload, encoder):
    run(upload)
    run(upload)
    assert len(encoder.calls) == 1
    assert persona.versions.count() == 2


def test_an_unknown_upload_is_ignored(encoder):
    prepare_voice(str(uuid.uuid4()))
    assert encoder.calls == []


def test_an_upload_with_a_lease_is_left_alone(upload, encoder):
    VoiceUpload.claim(upload.pk)
    run(upload)
    assert encoder.calls == []
    assert upload.state == State.DECODING


def test_a_task_whose_lease_was_taken_over_changes_nothing(
    persona, upload, encoder, files_left
):
    def take_over():
        VoiceUpload.objects.update(lease_until=timezone.now() - LEASE)
        assert VoiceUpload.claim(upload.pk) is not None

    encoder.during = take_over
    run(upload)
    assert upload.state == State.DECODING
    assert persona.current.number == 1
    assert files_left() == ["uploads"]


def test_a_newer_sample_puts_the_older_aside_while_it_is_encoded(
    persona, upload, encoder, recording
):
    newer = []

    def send_another():
        file = ContentFile(recording, "newer")
        newer.append(VoiceUpload.receive(persona, file))

    encoder.during = send_another
    run(upload)
    encoder.during = lambda: None
    assert (upload.state, upload.error_code) == (State.FAILED, "superseded")
    run(newer[0])
    assert persona.current.voice == newer[0].voice
    assert persona.versions.count() == 2


def test_a_persona_deleted_meanwhile_gets_no_voice(
    persona, upload, encoder, files_left
):
    encoder.during = persona.delete_softly
    run(upload)
    assert upload.error_code == "persona_gone"
    assert files_left() == []


def test_a_file_that_kills_its_workers_is_given_up(upload, encoder):
    VoiceUpload.objects.update(attempts=3)
    run(upload)
    assert upload.error_text == NotPrepared.text
    assert encoder.calls == []


def test_the_lease_is_extended_while_one_call_takes_long(upload, encoder, monkeypatch):
    import time

    monkeypatch.setattr(tasks, "LEASE", timedelta(seconds=0.3))
    seen = []

    def take_long():
        VoiceUpload.objects.update(lease_until=timezone.now())
        time.sleep(0.5)
        seen.append(VoiceUpload.objects.get(pk=upload.pk).lease_until)

    encoder.during = take_long
    run(upload)
    assert seen[0] > timezone.now() + LEASE / 2
    assert upload.state == State.READY


def test_it_is_really_encoded_without_a_worker(upload, monkeypatch):
    """The whole way, with FFmpeg and the neural network each in its own process."""
    monkeypatch.setattr(tasks, "decode_apart", decode_apart)
    run(upload)
    assert upload.state == State.READY, upload.error_text
    assert upload.voice.prompt.size > 10_000
    assert len(upload.voice.fingerprint) >= 16
