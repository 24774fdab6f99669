"""Files in a temporary folder, channel layer in memory, and a stand-in encoder."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile

from personas import encoding
from personas.uploads import VoiceUpload
from tests import sounds
from tests.factories import WorkerFactory


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.DATA_DIR = tmp_path / "data"
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    }
    return settings.MEDIA_ROOT


@pytest.fixture
def files_left(media):
    """Every file under MEDIA_ROOT, by the folder that it is in."""
    return lambda: sorted(p.parent.name for p in media.rglob("*") if p.is_file())


@pytest.fixture(scope="session")
def recording():
    return sounds.encode(sounds.speech(), "ogg")


@pytest.fixture
def sample_file(recording):
    return SimpleUploadedFile("me.ogg", recording, "audio/ogg")


@pytest.fixture
def upload(persona, recording):
    return VoiceUpload.receive(persona, ContentFile(recording, "me.ogg"))


@pytest.fixture
def enqueued(monkeypatch):
    """Ids of the uploads whose preparation was enqueued."""
    ids = []
    monkeypatch.setattr("personas.tasks.prepare_voice.delay", ids.append)
    return ids


class StandInEncoder:
    """encode_voice of inference.worker.client; counts calls, fails when told to."""

    def __init__(self):
        self.calls = []
        self.errors = []
        self.during = lambda: None

    def __call__(self, url, secret, pcm, progress, *, fingerprint=""):
        self.calls.append((url, secret, pcm, fingerprint))
        if self.errors:
            raise self.errors.pop(0)
        progress(0.0)
        self.during()
        progress(1.0)
        return b"a voice prompt"


@pytest.fixture
def encoder(monkeypatch, db):
    WorkerFactory(url="ws://worker", fingerprint="model-1")
    stand_in = StandInEncoder()
    monkeypatch.setattr(encoding, "encode_voice", stand_in)
    return stand_in
