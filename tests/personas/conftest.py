"""Files in a temporary folder, channel layer in memory, and a stand-in encoder."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from personas import encoding
from personas.decoding import decode
from personas.models import PresetList
from personas.models.upload import VoiceUpload
from tests import sounds
from tests.chromium import chromium as chromium
from tests.factories import VoiceFactory, WorkerFactory

PRESETS = {
    "VARF0": "Variety, female 0",
    "NATM1": "Natural, male 1",
    "NATF1": "Natural, female 1",
    "NATF0": "Natural, female 0",
}


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.DATA_DIR = tmp_path / "data"
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    }
    return settings.MEDIA_ROOT


@pytest.fixture(autouse=True)
def decoding_here(monkeypatch):
    """Without a process for each file; test_decoding_apart.py has the real way."""
    monkeypatch.setattr(
        "personas.tasks.decode_apart",
        lambda file, most, megabytes, channel: decode(file, most, channel),
    )


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


@pytest.fixture
def presets(db):
    """Four voices of the model that runs, by their names."""
    WorkerFactory(fingerprint="model-1")
    PresetList.objects.create(fingerprint="model-1", fetched_at=timezone.now())
    return {
        name: VoiceFactory(owner=None, preset=name, name=label, fingerprint="model-1")
        for name, label in PRESETS.items()
    }


class StandInEncoder:
    """encode_voice of inference.worker.client; counts calls, fails when asked to."""

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


@pytest.fixture
def sign_in(client, live_server, settings):
    """Gives a browser context the session of somebody who has signed in."""

    def sign_in(context, user):
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        session = {"name": name, "value": client.cookies[name].value}
        context.add_cookies([{**session, "url": live_server.url}])

    return sign_in


@pytest.fixture
def page(chromium, alice, sign_in):
    """Alice's; what goes wrong in its scripts fails the test."""
    context = chromium.new_context(permissions=["microphone"])
    sign_in(context, alice)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda m: problems.append(m.text) if "Content Security" in m.text else None,
    )
    yield page
    context.close()
    assert problems == []
