"""The live page in Chromium against a stand-in for the site that echoes frames."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from django.template.loader import render_to_string

from personas.models import Persona, PersonaVersion
from tests.js.conftest import loudest

WORKER = {
    "model": "tiny",
    "trained": True,
    "free": 2,
    "slots": 2,
    "context_seconds": 240,
    "tick_ms": 20,
    "too_slow": False,
    "voice_fits": True,
}


def talk_page(**worker):
    persona = Persona(name="Ada")
    context = {
        "persona": persona,
        "version": PersonaVersion(persona=persona, number=2),
        "socket_path": f"/ws/personas/{persona.id}/talk/",
        "max_seconds": 1800,
        "worker": None if worker.get("up") is False else WORKER | worker,
        "user": SimpleNamespace(is_authenticated=False),
    }
    return render_to_string("conversations/talk.html", context)


@pytest.fixture
def pages():
    return {"/": talk_page()}


def start(page):
    page.get_by_role("button", name="Talk to Ada").click()
    page.locator("#talk[data-phase=live]").wait_for()


def latency(page):
    return int(re.match(r"(\d+) ms", page.locator("#latency").inner_text())[1])


def end(page):
    page.get_by_role("button", name="End", exact=True).click()
    page.locator("#talk[data-phase=ended]").wait_for()


def test_frames_come_each_80_ms_and_the_answer_is_heard_without_growing_delay(
    visit, stand_in
):
    page = visit()
    start(page)
    page.wait_for_timeout(4000)
    early = latency(page)
    assert loudest(page, 2.5) > 0.1
    page.wait_for_timeout(14_000)
    late = latency(page)
    end(page)
    frames = stand_in.frames
    assert [f.seq for f in frames] == list(range(len(frames)))
    assert {f.kind for f in frames} == {1}
    seconds = frames[-1].at - frames[0].at
    assert (len(frames) - 1) / seconds == pytest.approx(12.5, rel=0.03)
    assert 60 <= early <= 320
    assert late <= early + 150  # the buffer may widen to its bound, no more
    assert "Hello there." in page.locator("#transcript").inner_text()


def test_muting_sends_flagged_silence_and_keeps_the_clock(visit, stand_in):
    page = visit("delete window.AudioEncoder")
    start(page)
    page.wait_for_timeout(1500)
    page.keyboard.press("m")
    page.wait_for_timeout(1500)
    assert page.get_by_role("button", name="Unmute").is_visible()
    page.keyboard.press("m")
    page.wait_for_timeout(1000)
    end(page)
    muted = [f for f in stand_in.frames if f.flags & 1]
    assert 15 <= len(muted) <= 25
    assert all(np.abs(np.frombuffer(f.payload, "<i2")).max() <= 1 for f in muted[1:])
    assert not stand_in.frames[-1].flags
    assert [f.seq for f in stand_in.frames] == list(range(len(stand_in.frames)))


def test_without_webcodecs_it_talks_in_pcm(visit, stand_in):
    page = visit("delete window.AudioEncoder")
    start(page)
    page.wait_for_timeout(1000)
    assert loudest(page, 2.5) > 0.1
    end(page)
    assert stand_in.events[0] == {"type": "start", "audio": "pcm"}
    assert {(f.kind, len(f.payload)) for f in stand_in.frames} == {(2, 3840)}
    sound = np.concatenate([np.frombuffer(f.payload, "<i2") for f in stand_in.frames])
    spectrum = np.abs(np.fft.rfft(sound.astype(float)))
    assert spectrum.argmax() * 24_000 / len(sound) == pytest.approx(440, abs=3)


def test_a_stall_is_repaid_and_counted(visit, stand_in):
    stand_in.stall_at, stand_in.stall_s = 30, 0.5
    page = visit()
    start(page)
    page.wait_for_timeout(2000)
    before = latency(page)
    page.wait_for_timeout(7000)
    assert latency(page) <= before + 100
    page.get_by_text("What the answer time is made of").click()
    assert int(page.locator("#underruns").inner_text()) >= 1
    end(page)


def test_frames_that_the_engine_dropped_do_not_count_as_latency(visit, stand_in):
    stand_in.unanswered = lambda seq: seq % 4 == 3
    page = visit()
    start(page)
    page.wait_for_timeout(6000)
    assert 60 <= latency(page) <= 400
    assert loudest(page, 2.5) > 0.1
    end(page)


def test_a_permission_given_late_is_waited_for(visit, stand_in):
    page = visit(
        """
        const ask = MediaDevices.prototype.getUserMedia;
        MediaDevices.prototype.getUserMedia = async function (wanted) {
          await new Promise((resolve) => setTimeout(resolve, 1500));
          return ask.call(this, wanted);
        };
        """
    )
    page.get_by_role("button", name="Talk to Ada").click()
    page.get_by_text("Waiting for the microphone").wait_for()
    page.locator("#talk[data-phase=live]").wait_for()
    page.wait_for_timeout(1000)
    end(page)
    assert stand_in.frames[0].seq == 0


def test_nothing_is_sent_before_ready_and_nothing_bursts_after_it(visit, stand_in):
    stand_in.prime_s = 1.5
    page = visit()
    start(page)
    page.wait_for_timeout(1000)
    end(page)
    first = stand_in.frames[0].at
    assert stand_in.frames[0].seq == 0
    assert sum(f.at - first < 0.5 for f in stand_in.frames) <= 8


def test_a_full_worker_is_told_and_tried_again_by_itself(visit, stand_in):
    stand_in.errors = [
        {
            "code": "worker_busy",
            "text": "All places are taken right now.",
            "retryable": True,
            "retry_after_s": 3,
        }
    ]
    page = visit()
    page.get_by_role("button", name="Talk to Ada").click()
    page.get_by_text("All places are taken right now.").wait_for()
    assert "Trying again in" in page.locator("#countdown").inner_text()
    page.locator("#talk[data-phase=live]").wait_for()
    assert page.locator("#problem").is_hidden()
    end(page)


def test_waiting_for_a_place_can_be_stopped(visit, stand_in):
    stand_in.errors = [
        {"code": "no_worker", "text": "None.", "retryable": True, "retry_after_s": 2}
    ]
    page = visit()
    page.get_by_role("button", name="Talk to Ada").click()
    page.get_by_role("button", name="Stop trying").click()
    page.wait_for_timeout(3000)
    assert len(stand_in.events) == 1
    assert page.get_by_role("button", name="Try again").is_visible()


def test_a_lost_connection_says_so_and_links_what_was_kept(visit, stand_in):
    stand_in.cut_at = 20
    page = visit()
    start(page)
    page.get_by_text("The connection was lost").wait_for()
    link = page.get_by_role("link", name="See and hear the conversation")
    assert link.get_attribute("href").endswith(
        "/conversations/5c1b0c0e-0000-4000-8000-000000000000/"
    )
    assert page.get_by_role("button", name="Try again").is_visible()


@pytest.mark.parametrize(
    ("name", "words"),
    [("NotAllowedError", "is blocked"), ("NotFoundError", "No microphone was found")],
)
def test_a_refused_or_missing_microphone_says_what_to_do(visit, stand_in, name, words):
    page = visit(
        "navigator.mediaDevices.getUserMedia = async () => "
        f"{{ throw new DOMException('', '{name}'); }}"
    )
    page.get_by_role("button", name="Talk to Ada").click()
    page.get_by_text(words).wait_for()
    assert not stand_in.frames


def test_an_insecure_page_says_how_to_open_it(visit):
    page = visit("Object.defineProperty(window, 'isSecureContext', {value: false})")
    assert page.get_by_text("only to secure pages").is_visible()
    assert page.get_by_role("button", name="Talk to Ada").is_hidden()


def test_the_untrained_model_is_told_before_the_start(visit, stand_in):
    stand_in.pages["/"] = talk_page(trained=False)
    assert visit().get_by_text("it can’t talk yet").is_visible()


def test_an_absent_worker_is_told_before_the_start(visit, stand_in):
    stand_in.pages["/"] = talk_page(up=False)
    assert visit().get_by_text("No voice engine is running").is_visible()


def test_a_closed_page_closes_the_socket(visit, stand_in):
    page = visit()
    start(page)
    page.goto("about:blank")
    page.wait_for_timeout(500)
    assert stand_in.closes


def test_talking_again_starts_from_nothing(visit, stand_in):
    page = visit()
    start(page)
    page.wait_for_timeout(1500)
    end(page)
    stand_in.frames.clear()
    page.get_by_role("button", name="Talk again").click()
    page.locator("#talk[data-phase=live]").wait_for()
    page.wait_for_timeout(800)
    end(page)
    assert stand_in.frames[0].seq == 0
