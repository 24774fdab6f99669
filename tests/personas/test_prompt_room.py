"""The limit of a role prompt in tokens: while it is written, saved and spoken with."""

import pytest
from django.core.files.storage import default_storage

from inference.errors import RolePromptError
from inference.loading.checkpoint import BUILT_IN, read_config
from inference.prompts.persona import _check_length
from inference.prompts.tokenizer import Tokenizer
from inference.worker.options import WorkerOptions
from personas import tasks, tokenizers
from personas.models import Persona
from personas.prompt_room import room_of
from tests.factories import VoiceFactory, WorkerFactory
from tests.inference.worker.conftest import SECRET, running
from tests.personas.test_presets import StandInWorker

pytestmark = pytest.mark.django_db

TINY = BUILT_IN / "tiny"
CONTENT = (TINY / "tokenizer.model").read_bytes()
LONG = "You know all about bread, butter and the history of the town. " * 32
ROOM = "/personas/role-prompt/"


@pytest.fixture
def model():
    """Of the window of `tiny`: 488 tokens fit without a voice."""
    WorkerFactory(fingerprint="model-1", context_frames=1000)
    tokenizers.keep("model-1", CONTENT)


@pytest.fixture
def ask(client, alice):
    client.force_login(alice)

    def ask(text, **fields):
        answer = client.post(ROOM, {"role_prompt": text, **fields})
        assert answer.status_code == 200
        return answer.json()

    return ask


@pytest.mark.parametrize(
    "text",
    ["", "You bake.", LONG, "“Café” — ```x``` 😀", "你好" * 100, "<system> a <system>"],
)
def test_it_counts_as_the_model_does(model, text):
    from inference.prompts.prompt_text import wrapped

    config = read_config(TINY)
    tokenizer = Tokenizer(TINY / "tokenizer.model", config.text_cardinality)
    assert room_of(text, 0).tokens == len(tokenizer.encode(wrapped(text)))


@pytest.mark.parametrize("frames", [0, 150])
def test_the_limit_is_that_of_the_start_of_a_conversation(model, frames):
    fits = room_of("", frames * 0.08).fits
    config = read_config(TINY)
    _check_length(config, frames, fits)
    with pytest.raises(RolePromptError):
        _check_length(config, frames, fits + 1)


def test_the_strictest_of_all_models_counts(model):
    WorkerFactory(fingerprint="model-2", context_frames=400)
    assert room_of("You bake.", 0).fits == 488  # its tokenizer is not here yet
    tokenizers.keep("model-2", CONTENT)
    assert room_of("You bake.", 0).fits == 188


def test_without_a_tokenizer_nothing_is_said(ask):
    WorkerFactory(fingerprint="model-1", context_frames=1000)
    assert ask("You bake.")["tokens"] is None


def test_a_damaged_tokenizer_is_none(model, media):
    tokenizers._loaded.cache_clear()
    (media / "tokenizers" / "model-1.model").write_bytes(b"\x0a\xff\xff" * 99)
    assert room_of("You bake.", 0) is None


def test_the_page_is_answer_while_it_is_written(model, ask, alice, bob):
    assert ask("You bake.") == {"tokens": 8, "fits": 488, "hint": "", "plain": ""}
    voice = VoiceFactory(owner=alice, seconds=12)
    assert ask("You bake.", voice_choice=str(voice.pk))["fits"] == 338
    assert ask("You bake.", recording="1")["fits"] == 338
    others = VoiceFactory(owner=bob, seconds=12)
    assert ask("You bake.", voice_choice=str(others.pk))["fits"] == 488
    assert ask("You bake.", voice_choice="nonsense")["fits"] == 488


def test_plain_characters_are_offered_with_what_they_save(model, ask):
    answer = ask("“Café” – **you** bake…")
    assert answer["plain"] == '"Cafe" - you bake...'
    saved = answer["tokens"] - room_of(answer["plain"], 0).tokens
    kinds = "Markdown, curly quotes and long dashes"
    assert answer["hint"] == f"{kinds} take {saved} tokens more than plain characters."
    assert saved > 5


def test_far_too_much_text_is_not_counted(model, ask, monkeypatch):
    monkeypatch.setattr("personas.prompt_views.room_of", pytest.fail)
    assert ask("word " * 100_000)["tokens"] is None


@pytest.mark.parametrize("text", ["\ud83d", "a\0b", "\u202e\ufeff"])
def test_odd_characters_do_no_harm(model, text):
    room_of(text, 0)


@pytest.mark.parametrize("filler", [LONG[:2000], "食" * 600, "😀" * 400])
def test_what_the_model_would_refuse_is_not_saved(
    model, client, alice, persona, filler
):
    client.force_login(alice)
    for url in ("/personas/new/", f"/personas/{persona.pk}/"):
        answer = client.post(url, {"name": "Nora", "role_prompt": filler})
        assert answer.status_code == 400
        assert "tokens long, and with this voice the" in answer.content.decode()
        assert "takes 488" in answer.content.decode()
    assert Persona.objects.get() == persona
    assert persona.versions.count() == 1


def test_a_voice_that_leaves_no_room_is_not_saved(model, client, alice, persona):
    client.force_login(alice)
    text = "You bake bread. " * 60
    assert 338 < room_of(text, 0).tokens <= 488
    voice = VoiceFactory(owner=alice, seconds=12)
    fields = {"name": "Nora", "role_prompt": text}
    answer = client.post("/personas/new/", {**fields, "voice_choice": voice.pk})
    assert "takes 338" in answer.content.decode()
    assert client.post("/personas/new/", fields).status_code == 302


def test_what_no_longer_fits_is_answer_on_the_page(model, client, alice, persona):
    client.force_login(alice)
    page = f"/personas/{persona.pk}/"
    assert "prompt-problem" not in client.get(page).content.decode()
    persona.revise(role_prompt="You bake bread. " * 100)
    assert "prompt-problem" in client.get(page).content.decode()


def test_a_tokenizer_is_fetched_with_its_model(settings, monkeypatch):
    settings.WORKER_SECRET = SECRET
    monkeypatch.setattr("personas.tasks.fetch_presets.delay", lambda print: None)
    asked = []
    monkeypatch.setattr("personas.tasks.fetch_tokenizer.delay", asked.append)
    with StandInWorker() as worker:
        WorkerFactory(url=worker.url, fingerprint="model-1", context_frames=1000)
        tasks.look_for_presets()
        assert asked == ["model-1"]
        worker.answers = {"/tokenizer": b"no tokenizer"}
        tasks.fetch_tokenizer("model-1")
        assert room_of("You bake.", 0) is None
        worker.answers = {"/tokenizer": CONTENT}
        tasks.fetch_tokenizer("model-1")
        tasks.fetch_tokenizer("model-1")
    assert room_of("You bake.", 0).tokens == 8
    assert default_storage.listdir("tokenizers")[1] == ["model-1.model"]
    asked.clear()
    tasks.look_for_presets()
    assert asked == []


def test_tokenizers_of_models_that_are_gone_are_deleted(model):
    tokenizers.keep("older", CONTENT)
    tasks.clean_up_voices()
    assert default_storage.listdir("tokenizers")[1] == ["model-1.model"]


async def test_a_worker_serves_its_tokenizer():
    from tests.inference.worker.test_server import get

    async with running(options=WorkerOptions(SECRET, model=TINY)) as rig:
        answer = await get(rig, "/tokenizer", SECRET)
        assert answer.content == CONTENT
        assert (await get(rig, "/tokenizer", "guess")).status_code == 401
    async with running(options=WorkerOptions(SECRET)) as rig:
        assert (await get(rig, "/tokenizer", SECRET)).status_code == 404
