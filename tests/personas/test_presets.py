"""Voices that come with a model: fetched from a worker, hostile or not, and found
again by their name when the model changes."""

import hashlib
import json
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from asgiref.sync import sync_to_async
from celery import current_app
from django.utils import timezone

from inference.loading.checkpoint import BUILT_IN
from inference.models import Worker
from inference.worker.options import WorkerOptions
from inference.worker.protocol import FINGERPRINT_HEADER
from personas import presets
from personas.errors import VoiceNotInModel, VoiceNotReady
from personas.models import PresetList, Voice
from personas.tasks import (
    clean_up_voices,
    encode_voice_again,
    fetch_presets,
    look_for_presets,
)
from tests.factories import PersonaVersionFactory, VoiceFactory, WorkerFactory
from tests.inference.worker.conftest import SECRET, running
from tests.serving import serve_in_thread

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


HOUR = timedelta(hours=1)


def entry(name, content, **changes):
    digest = hashlib.sha256(content).hexdigest()
    voice = {"name": name, "label": f"Voice {name}", "digest": digest, "seconds": 4.0}
    return {**voice, **changes}


class StandInWorker:
    """Answers /presets as a worker does; ``answers`` may be changed to anything."""

    def __init__(self, fingerprint="model-1"):
        self.fingerprint, self.answers, self.asked = fingerprint, {}, []
        worker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                worker.asked.append(self.path)
                knows = self.headers["Authorization"] == f"Bearer {SECRET}"
                content = worker.answers.get(self.path) if knows else None
                self.send_response(404 if content is None else 200)
                self.send_header(FINGERPRINT_HEADER, worker.fingerprint)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"ws://127.0.0.1:{self.server.server_port}"

    def offer(self, **voices):
        """name: content."""
        listed = [entry(name, content) for name, content in voices.items()]
        self.answers = {f"/presets/{n}": content for n, content in voices.items()}
        self.answers["/presets"] = json.dumps(listed).encode()

    def __enter__(self):
        self.thread = serve_in_thread(self.server)
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def worker(settings):
    settings.WORKER_SECRET = SECRET
    with StandInWorker() as worker:
        WorkerFactory(url=worker.url, fingerprint="model-1", name="gpu-1")
        worker.offer(NATF0=b"a voice", Nora=b"another")
        yield worker


@pytest.fixture
def asked(monkeypatch):
    """Fingerprints whose presets were to be fetched."""
    asked = []
    monkeypatch.setattr("personas.tasks.fetch_presets.delay", asked.append)
    monkeypatch.setattr("personas.tasks.fetch_tokenizer.delay", lambda print: None)
    return asked


def kept():
    return {v.preset: v.prompt.read() for v in Voice.objects.presets()}


def test_they_become_voices_without_owner_and_sample(worker):
    fetch_presets("model-1")
    assert kept() == {"NATF0": b"a voice", "Nora": b"another"}
    voice = Voice.objects.get(preset="NATF0")
    assert (voice.owner, bool(voice.sample)) == (None, False)
    assert (voice.name, voice.seconds) == ("Voice NATF0", 4.0)
    assert voice.digest == hashlib.sha256(b"a voice").hexdigest()
    assert voice.ready_for("model-1")
    assert PresetList.objects.fetched(["model-1"])


def test_what_is_here_is_not_fetched_again(worker):
    fetch_presets("model-1")
    worker.asked.clear()
    fetch_presets("model-1")
    assert worker.asked == ["/presets"]


@committing
def test_what_was_replaced_is_fetched_and_the_old_file_goes(worker, files_left):
    fetch_presets("model-1")
    key = Voice.objects.get(preset="NATF0").pk
    worker.offer(NATF0=b"a better voice", Nora=b"another")
    fetch_presets("model-1")
    voice = Voice.objects.get(preset="NATF0")
    assert (voice.pk, voice.prompt.read()) == (key, b"a better voice")
    assert files_left() == ["prompts", "prompts"]


def test_another_worker_is_asked_when_one_fails(worker):
    WorkerFactory(url="ws://127.0.0.1:1", fingerprint="model-1", slots=99)
    fetch_presets("model-1")
    assert len(kept()) == 2


@committing
async def test_the_model_that_we_ship_brings_eight(settings):
    settings.WORKER_SECRET = SECRET
    options = WorkerOptions(SECRET, model=BUILT_IN / "tiny")
    async with running(options=options) as rig:
        fingerprint = rig.engine.info.fingerprint
        await sync_to_async(WorkerFactory)(url=rig.url, fingerprint=fingerprint)
        await sync_to_async(fetch_presets)(fingerprint)
    names = [v.preset async for v in Voice.objects.presets().order_by("preset")]
    assert names == [
        "NATF0",
        "NATF1",
        "NATM0",
        "NATM1",
        "VARF0",
        "VARF1",
        "VARM0",
        "VARM1",
    ]


HOSTILE = {
    "no JSON": b"<html>",
    "deep": b"[" * 100_000,
    "no list": b'{"NATF0": 1}',
    "no objects": b"[1]",
    "too many": json.dumps([entry(f"v{n}", b"") for n in range(257)]).encode(),
    "huge": b" " * (presets.MAX_LIST_BYTES + 1),
    "a path": json.dumps([entry("../../healthz", b"")]).encode(),
    "a number as name": json.dumps([entry(5, b"")]).encode(),
    "a long label": json.dumps([entry("A", b"", label="x" * 121)]).encode(),
    "a broken label": json.dumps([entry("A", b"", label="\ud800")]).encode(),
    "no digest": json.dumps([entry("A", b"", digest="")]).encode(),
    "endless": b'[{"name":"A","label":"A","digest":"' + b"0" * 64
    + b'","seconds":Infinity}]',
    "truth": json.dumps([entry("A", b"", seconds=True)]).encode(),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_strange_list_is_refused(worker, caplog, case):
    worker.answers["/presets"] = HOSTILE[case]
    fetch_presets("model-1")
    assert "voices of gpu-1 not fetched" in caplog.text
    assert worker.asked == ["/presets"]
    assert kept() == {}
    assert not PresetList.objects.fetched(["model-1"])


def test_bytes_that_are_not_what_was_listed_are_refused(worker, files_left):
    worker.answers["/presets/NATF0"] = b"something else"
    fetch_presets("model-1")
    assert kept() == {} and files_left() == []


def test_a_voice_that_does_not_end_is_cut_off(worker, files_left, monkeypatch):
    monkeypatch.setattr(presets, "MAX_VOICE", 1000)
    worker.offer(NATF0=b"x" * 1001)
    fetch_presets("model-1")
    assert kept() == {} and files_left() == []


def test_all_together_have_a_bound(worker, monkeypatch):
    monkeypatch.setattr(presets, "MAX_BYTES", 10)
    fetch_presets("model-1")
    assert list(kept()) == ["NATF0"]


def test_a_worker_that_is_too_slow_to_serve_gives_them_too(worker):
    Worker.objects.update(ready=False)
    fetch_presets("model-1")
    assert len(kept()) == 2


def test_a_worker_that_runs_another_model_by_now_gives_nothing(worker):
    worker.fingerprint = "model-2"
    fetch_presets("model-1")
    assert kept() == {}


def test_a_wrong_secret_gives_nothing(worker, settings):
    settings.WORKER_SECRET = "another"
    fetch_presets("model-1")
    assert kept() == {}


def test_a_new_model_is_asked_once_and_again_after_a_minute(worker, asked):
    WorkerFactory(fingerprint="model-1")
    WorkerFactory(fingerprint="", ready=False)
    WorkerFactory(fingerprint="model-3", last_seen_at=timezone.now() - HOUR)
    look_for_presets()
    look_for_presets()
    assert asked == ["model-1"]
    WorkerFactory(fingerprint="model-2")
    look_for_presets()
    assert asked == ["model-1", "model-2"]
    PresetList.objects.filter(fingerprint="model-1").update(
        asked_at=timezone.now() - timedelta(seconds=61), fetched_at=timezone.now()
    )
    look_for_presets()
    assert asked == ["model-1", "model-2", "model-1"]


def test_after_a_failure_it_is_asked_sooner(worker, asked):
    look_for_presets()
    PresetList.objects.update(asked_at=timezone.now() - timedelta(seconds=16))
    look_for_presets()
    assert asked == ["model-1", "model-1"]


def preset(fingerprint, name="NATF0", **fields):
    return VoiceFactory(owner=None, preset=name, fingerprint=fingerprint, **fields)


def listed(fingerprint):
    PresetList.objects.create(fingerprint=fingerprint, fetched_at=timezone.now())


def test_the_preset_of_the_same_name_takes_its_place():
    old, new = preset("old"), preset("new")
    preset("new", "NATF1")
    assert old.for_models(["other", "new"]) == new
    assert old.for_models(["old", "new"]) == old


def test_a_model_without_it_differs_from_one_not_asked_yet():
    old = preset("old", name="NATF3")
    Voice.objects.update(name="Natural, female 3")
    old.refresh_from_db()
    with pytest.raises(VoiceNotReady):
        old.for_models(["new"])
    listed("new")
    with pytest.raises(VoiceNotInModel, match="model old") as raised:
        old.for_models(["new"])
    assert "“Natural, female 3” came with another model" in raised.value.text


def test_it_is_never_encoded_again(monkeypatch):
    sent = []
    monkeypatch.setattr(current_app, "send_task", lambda *task: sent.append(task))
    monkeypatch.setattr("personas.tasks.encode", lambda *_: pytest.fail("encoded"))
    voice = preset("old")
    assert not voice.ready_for("new")
    with pytest.raises(VoiceNotReady):
        voice.for_models(["new"])
    encode_voice_again(str(voice.pk), "new")
    assert sent == []


@committing
def test_presets_of_a_model_that_is_gone_are_deleted_unless_used(persona, files_left):
    WorkerFactory(fingerprint="new")
    for fingerprint in ("old", "new"):
        for name in ("NATF0", "NATF1"):
            Voice.take_preset(fingerprint, name, name, 4.0, b"a voice")
    used = Voice.objects.get(fingerprint="old", preset="NATF1")
    PersonaVersionFactory(persona=persona, number=2, voice=used)
    clean_up_voices()
    left = Voice.objects.order_by("fingerprint", "preset")
    assert list(left.values_list("fingerprint", "preset")) == [
        ("new", "NATF0"),
        ("new", "NATF1"),
        ("old", "NATF1"),
    ]
    assert len(files_left()) == 3
