"""The persona pages in a real browser: a file and a recording become a voice.

The live server has no sockets, so this is also the test of the polling behind them.
"""

import re
import threading

import numpy as np
import pytest
from django.db import connection
from playwright.sync_api import expect

from inference.loading.checkpoint import BUILT_IN
from inference.models import Worker
from personas import tokenizers
from personas.models.upload import VoiceUpload
from personas.tasks import prepare_voice
from tests import sounds
from tests.js.conftest import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def celery_in_a_thread(chromium, monkeypatch, encoder):
    threads = []

    def work(upload_id):
        prepare_voice(upload_id)
        connection.close()

    def delay(upload_id):
        threads.append(threading.Thread(target=work, args=[upload_id]))
        threads[-1].start()

    monkeypatch.setattr("personas.tasks.prepare_voice.delay", delay)
    yield
    for thread in threads:
        thread.join()


@pytest.fixture
def short_takes(settings):
    """Whatever pauses the microphone's speech has, a take of two seconds is enough."""
    settings.VOICE_MIN_SECONDS = 1


def file(data, name="me.ogg"):
    return {"name": name, "mimeType": "audio/ogg", "buffer": data}


def sample_seconds(page):
    page.wait_for_selector("#voice audio", timeout=20_000)
    script = "new Promise(done => {const a = document.querySelector('#voice audio');"
    script += (
        "a.duration ? done(a.duration) : a.ondurationchange = () => done(a.duration)})"
    )
    return page.evaluate(script)


def test_a_persona_is_made_with_a_voice_from_a_file(page, live_server, recording):
    page.goto(live_server.url + "/personas/new/")
    page.fill("#id_name", "Nora")
    page.click("[data-example] >> nth=0")
    assert page.text_content("[data-counter]") == "100 of 2,000 characters"
    page.set_input_files("#id_voice", file(recording))
    page.click("[data-submit]")
    page.wait_for_url("**/personas/*-*/")
    assert sample_seconds(page) == pytest.approx(12, abs=0.6)


def test_tokens_are_counted_while_one_writes(page, live_server, persona):
    """And what costs many is replaced when asked for, so that undo brings it back."""
    Worker.objects.update(context_frames=1000)
    tokenizers.keep("model-1", (BUILT_IN / "tiny" / "tokenizer.model").read_bytes())
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    page.fill("#id_role_prompt", "You bake bread. " * 100)
    expect(page.locator("[data-tokens]")).to_have_text(
        re.compile(r"^\d+ of 488 tokens")
    )
    expect(page.locator("[data-tokens]")).to_have_class(re.compile("over"))
    expect(page.locator("[data-room-status]")).to_contain_text("too long")
    page.click("#persona-form [data-submit]")
    expect(page.locator("#id_role_prompt_error")).to_contain_text("takes 488")
    page.fill("#id_role_prompt", "You “bake” — **bread**")
    expect(page.locator("[data-plain-hint]")).to_contain_text("Markdown, curly")
    expect(page.locator("[data-room-status]")).to_be_empty()
    page.click("[data-use-plain]")
    assert page.input_value("#id_role_prompt") == 'You "bake", bread'
    expect(page.locator("[data-use-plain]")).to_be_hidden()
    page.keyboard.press("Control+z")
    assert page.input_value("#id_role_prompt") == "You “bake” — **bread**"
    page.fill("#id_role_prompt", "You bake bread.")
    expect(page.locator("[data-tokens]")).not_to_have_class(re.compile("over"))
    page.click("#persona-form [data-submit]")
    page.wait_for_selector(".notice.success")


def test_a_recording_is_made_heard_and_becomes_the_voice(
    page, live_server, persona, short_takes
):
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    page.click("[data-record]")
    level = "document.querySelector('[data-level]').value"
    until(page, lambda: page.evaluate(level) > 0.3)
    record_until(page, 3)
    page.click("[data-stop]")
    page.wait_for_selector("[data-listen]")
    with page.expect_navigation(timeout=20_000):
        page.click("[data-use]")
    assert 1 < sample_seconds(page) < 12
    assert persona.current.number == 2


def record(page):
    page.click("[data-record]")
    record_until(page, 2)


def record_until(page, seconds):
    """By the recorder's own clock, however slow the machine is."""
    clock = re.compile(f"0:0[{seconds}-9]")
    expect(page.locator("[data-clock]")).to_have_text(clock, timeout=30_000)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_recording_that_was_not_discarded_is_sent_with_the_form(
    page, live_server, presets, short_takes, stopped
):
    """Without a press on Use, or even on Stop."""
    page.goto(live_server.url + "/personas/new/")
    page.fill("#id_name", "Nora")
    record(page)
    if stopped:
        page.click("[data-stop]")
        page.wait_for_selector("[data-use]:visible")
    page.click("[data-submit]")
    page.wait_for_url("**/personas/*-*/")
    assert 1 < sample_seconds(page) < 12


def test_a_recording_is_not_lost_by_a_save_of_the_rest(
    page, live_server, persona, short_takes
):
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    record(page)
    page.click("[data-stop]")
    page.wait_for_selector("[data-use]:visible")
    page.fill("#id_role_prompt", "You sing.")
    page.click("#persona-form [data-submit]")
    expect(page.locator("[data-voice-error]")).to_contain_text("not uploaded yet")
    page.click("[data-voice-field] [data-discard]")
    expect(page.locator("[data-voice-error]")).to_be_hidden()
    page.click("#persona-form [data-submit]")
    page.wait_for_selector(".notice.success")
    assert persona.current.role_prompt == "You sing."


def test_a_voice_of_the_model_is_chosen_and_kept(page, live_server, presets):
    page.goto(live_server.url + "/personas/new/")
    page.fill("#id_name", "Nora")
    page.select_option("#id_voice_choice", label="Natural, male 1 (NATM1)")
    page.click("[data-submit]")
    page.wait_for_url("**/personas/*-*/")
    assert "Natural, male 1" in page.text_content("#voice")
    page.select_option("#id_voice_choice", label="Variety, female 0 (VARF0)")
    page.click("#persona-form [data-submit]")
    page.wait_for_selector(".notice.success")
    assert "Variety, female 0" in page.text_content("#voice")


def test_a_voice_that_gets_ready_throws_away_nothing_that_was_written(
    page, live_server, persona, presets, recording
):
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    page.set_input_files("#id_voice", file(recording))
    page.fill("#id_role_prompt", "You sing.")
    page.click("#voice-form [data-submit]")
    page.wait_for_selector("#upload-ready:visible", timeout=20_000)
    assert page.input_value("#id_role_prompt") == "You sing."
    page.click("#persona-form [data-submit]")
    assert sample_seconds(page) == pytest.approx(12, abs=0.6)
    assert persona.current.role_prompt == "You sing."
    assert persona.current.voice.owner == persona.owner


def test_a_take_that_is_too_short_cant_be_used(page, live_server, persona):
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    page.click("[data-record]")
    page.wait_for_selector("[data-stop]:visible")
    page.wait_for_timeout(600)
    page.click("[data-stop]")
    page.wait_for_selector("[data-use]:visible")
    assert page.is_disabled("[data-use]")
    assert "3 s are needed" in page.text_content("[data-recorder-hint]")


def test_a_blocked_microphone_is_explained(page, live_server, persona):
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () =>"
        " Promise.reject(new DOMException('no', 'NotAllowedError'))"
    )
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    page.click("[data-record]")
    expect(page.locator("[data-recorder-hint]")).to_contain_text("blocked")
    assert page.is_enabled("[data-record]")


def test_what_is_too_large_or_too_short_is_never_sent(
    page, live_server, persona, settings
):
    settings.VOICE_MAX_BYTES = 200_000
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    posts = posts_of(page)
    page.set_input_files("#id_voice", file(b"OggS" + bytes(300_000)))
    page.click("#voice-form [data-submit]")
    page.wait_for_selector("[data-voice-error]:visible")
    assert "may have at most 195 kB" in page.text_content("[data-voice-error]")
    short = sounds.encode(sounds.speech(1.2))
    page.set_input_files("#id_voice", file(short, "short.wav"))
    page.click("#voice-form [data-submit]")
    expect(page.locator("[data-voice-error]")).to_contain_text("1.2 s")
    assert posts == []


def test_a_refusal_by_the_task_is_shown_without_leaving_the_page(
    page, live_server, persona
):
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    silent = sounds.encode(np.zeros(24_000 * 6), "flac")
    page.set_input_files("#id_voice", file(silent, "silent.flac"))
    page.click("#voice-form [data-submit]")
    page.wait_for_selector("#upload-failed:visible", timeout=20_000)
    assert "This file is silent" in page.text_content("#upload-failed")
    assert page.is_hidden("#upload")
    assert VoiceUpload.objects.get().state == "failed"


def test_a_user_who_was_signed_out_meanwhile_sees_it(
    page, live_server, persona, recording, settings
):
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    page.set_input_files("#id_voice", file(recording))
    page.click("#voice-form [data-submit]")
    page.wait_for_selector("[data-voice-error]:visible")
    assert "signed out" in page.text_content("[data-voice-error]")


def test_bad_fields_are_marked_and_explained(page, live_server):
    page.goto(live_server.url + "/personas/new/")
    page.fill("#id_role_prompt", "x" * 2001)
    page.click("[data-submit]")
    page.wait_for_selector("#id_name_error")
    assert "2,001 characters" in page.text_content("#id_role_prompt_error")
    assert page.evaluate("document.activeElement.id") == "id_name"


def posts_of(page):
    """Addresses that forms were sent to; the role prompt's count is no form."""
    posts = []

    def note(request):
        if request.method == "POST" and not request.url.endswith("/role-prompt/"):
            posts.append(request.url)

    page.on("request", note)
    return posts


def test_a_double_click_sends_a_form_once(page, live_server, persona):
    posts = posts_of(page)
    page.goto(live_server.url + "/personas/new/")
    page.fill("#id_name", "Nora")
    page.dblclick("[data-submit]")
    page.wait_for_url("**/personas/*-*/")
    assert posts == [live_server.url + "/personas/new/"]
    page.go_back()
    expect(page.locator("[data-submit]")).to_be_enabled()
    page.goto(f"{live_server.url}/personas/{persona.pk}/delete/")
    page.dblclick("form .danger")
    page.wait_for_selector(".notice.success")
    assert len(posts) == 2


def test_what_the_site_says_when_it_has_no_room_is_shown(
    page, live_server, persona, recording, monkeypatch
):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("django.core.files.storage.FileSystemStorage._save", full)
    page.goto(f"{live_server.url}/personas/{persona.pk}/")
    page.set_input_files("#id_voice", file(recording))
    page.click("#voice-form [data-submit]")
    expect(page.locator("[data-voice-error]")).to_contain_text("no room left")
    page.goto(live_server.url + "/personas/new/")
    page.fill("#id_name", "Nora")
    page.set_input_files("#id_voice", file(recording))
    page.click("#persona-form [data-submit]")
    expect(page.locator("#not-sent")).to_contain_text("no room left")
    expect(page.locator("[data-submit]")).to_be_enabled()
