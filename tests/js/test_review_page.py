"""The review page in Chromium: one sound file, its levels, words and times."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import opuslib
import pytest
from django.template.loader import render_to_string

from conversations.audio.ogg import mux_pair
from conversations.models import Conversation
from personas.models import Persona, PersonaVersion
from tests.js.conftest import loudest, until
from tests.js.stand_in import CSP

SECONDS = 8
FRAMES = 100
NONCE = "bm9uY2UgZm9yIHRlc3Rz"
DATA = {
    "persona": "Ada",
    "duration_s": SECONDS,
    "transcript": [
        {
            "start_s": 1.0,
            "end_s": 2.0,
            "text": "Hello there",
            "words": [
                {"start_s": 1.0, "end_s": 1.5, "text": "Hello"},
                {"start_s": 1.5, "end_s": 2.0, "text": "there"},
            ],
        },
        {
            "start_s": 5.0,
            "end_s": 5.4,
            "text": "Bye",
            "words": [{"start_s": 5.0, "end_s": 5.4, "text": "Bye"}],
        },
    ],
    "latency": {
        "p50_ms": 31.2,
        "p95_ms": 44.0,
        "p99_ms": 61.5,
        "max_ms": 90.1,
        "stages": {"queue_ms": 8.0, "tick_ms": 21.0},
        "series": {"t": [0.0, 4.0], "p50_ms": [30.1, 31.0], "max_ms": [44.0, 90.1]},
    },
    "events": [
        {
            "at_s": 3.0,
            "kind": "resumed",
            "text": "The browser came back",
            "pause_s": 2.31,
        }
    ],
    "client_metrics": {
        "latency_p50_ms": 212.0,
        "latency_p95_ms": 240.5,
        "buffer_p50_ms": 52.0,
        "echo_p95": None,
        "underruns": 3,
        "skipped_ms": 0,
        "stretched_ms": 35.0,
        "series": {"t": [1.04], "latency_ms": [212.0]},
    },
}
LEVELS = {
    "ready": True,
    "rate": 25.0,
    "user": [80] * 100 + [0] * 100,
    "agent": [0] * 100 + [80] * 100,
}


def packets(loud):
    """80 ms packets; loud(frame) says whether the tone sounds."""
    encoder = opuslib.Encoder(24_000, 1, opuslib.APPLICATION_VOIP)
    t = np.arange(1920) / 24_000
    tone = (0.4 * np.sin(2 * np.pi * 500 * t) * 32767).astype("<i2")
    frames = [tone if loud(n) else np.zeros_like(tone) for n in range(FRAMES)]
    return [encoder.encode(frame.tobytes(), 1920) for frame in frames]


@pytest.fixture(scope="module")
def recording():
    """The user speaks in the first half, the agent in the second."""
    user = packets(lambda n: n < FRAMES / 2)
    return mux_pair(user, packets(lambda n: n >= FRAMES / 2), 1)


@pytest.fixture
def name():
    return "Ada"


@pytest.fixture
def pages(name):
    persona = Persona(name=name)
    version = PersonaVersion(persona=persona, number=2, role_prompt="You are Ada.")
    conversation = Conversation(
        persona_version=version,
        model="tiny",
        worker_name="worker-0",
        started_at=datetime(2026, 11, 22, 13, 0, tzinfo=UTC),
        ended_at=datetime(2026, 11, 22, 13, 1, tzinfo=UTC),
        end_reason="user_ended",
        frames=FRAMES,
        sampling={"temperature_text": 0.7, "greedy": False, "seed": 4711},
        id=UUID("5c1b0c0e-0000-4000-8000-000000000000"),
    )
    context = {
        "conversation": conversation,
        "persona": persona,
        "version": version,
        "data_url": "/data/",
        "levels_url": "/levels/",
        "delete_url": "/delete/",
        "user_url": "/user.ogg",
        "agent_url": "/agent.ogg",
        "both_url": "/both.ogg",
        "mine": True,
        "user_name": "You",
        "end_text": conversation.end_text,
        "duration_s": SECONDS,
        "user": SimpleNamespace(is_authenticated=False),
        "request": SimpleNamespace(csp_nonce=NONCE),
    }
    return {"/": render_to_string("conversations/detail.html", context)}


@pytest.fixture(autouse=True)
def styles_with_nonce(stand_in):
    """As ``conversation_detail`` allows them."""
    stand_in.csp = f"{CSP}; style-src 'self' 'nonce-{NONCE}'"


def asked(page, address):
    """How often the page has fetched it."""
    return page.evaluate(
        """(address) => performance.getEntriesByType("resource")
            .filter((entry) => entry.name.endsWith(address)).length""",
        address,
    )


def as_json(answer):
    return "application/json", json.dumps(answer).encode()


@pytest.fixture
def review(page, visit, stand_in, recording):
    def review(viewport=(1100, 760), **data):
        stand_in.files["/data/"] = as_json(DATA | data)
        stand_in.files.setdefault("/levels/", as_json(LEVELS))
        stand_in.files["/both.ogg"] = ("audio/ogg", recording)
        width, height = viewport
        page.set_viewport_size({"width": width, "height": height})
        visit()
        page.locator("#words p").first.wait_for()
        return page

    return review


@pytest.mark.parametrize("name", ["An extraordinarily long name of a persona " * 2])
@pytest.mark.parametrize("width", [1100, 360])
def test_a_long_name_leaves_its_label_in_one_line(review, width):
    """It read Per/so/na."""
    page = review(viewport=(width, 760))
    label = page.locator(".facts-list dt", has_text="Persona").first
    lines = """(dt) => {
        const range = document.createRange();
        range.selectNodeContents(dt);
        return range.getClientRects().length;
    }"""
    assert label.evaluate(lines) == 1
    overflow = "document.documentElement.scrollWidth - innerWidth"
    assert page.evaluate(overflow) <= 0


def position(page):
    minutes, seconds = page.locator("#position").inner_text().split(":")
    return 60 * int(minutes) + float(seconds)


def playing(page):
    return not page.evaluate("document.getElementById('recording').paused")


LANES = "#waveform .canvases canvas"  # of the user, of the agent
PAINTED = """(canvases) => canvases.map((canvas) => {
    const box = [0, 0, canvas.width, canvas.height];
    const pixels = canvas.getContext("2d").getImageData(...box).data;
    let n = 0;
    for (let i = 3; i < pixels.length; i += 4) n += pixels[i] > 0;
    return n / (pixels.length / 4);
})"""
COLOUR = """(canvas) => {
    const middle = [0, canvas.height / 2, canvas.width, 1];
    const pixels = canvas.getContext("2d").getImageData(...middle).data;
    let i = 3;
    while (pixels[i] === 0) i += 4;
    return [...pixels.slice(i - 3, i)].join();
}"""


def painted(page, selector):
    """The share of each canvas that is not empty."""
    return page.locator(selector).evaluate_all(PAINTED)


def waveform_width(page):
    return page.locator("#waveform .scroll").evaluate("(scroll) => scroll.scrollWidth")


def fetched(page):
    """What the page's scripts have asked for."""
    return page.evaluate(
        """() => performance.getEntriesByType("resource")
            .filter((entry) => entry.initiatorType === "fetch")
            .map((entry) => new URL(entry.name).pathname).sort()"""
    )


def test_one_button_plays_both_sides_with_a_volume_each(review):
    page = review()
    page.locator("#volume-agent").fill("0")
    page.get_by_role("button", name="Play").click()
    assert loudest(page, 1.5) > 0.1  # the user, from the left channel
    page.locator("#waveform").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(600)
    assert position(page) > 5
    assert loudest(page, 0.5) < 0.02  # the agent is muted, the user silent
    page.locator("#volume-agent").fill("100")
    page.locator("#volume-user").fill("0")
    page.wait_for_timeout(200)
    assert loudest(page, 0.7) > 0.1
    page.get_by_role("button", name="Play").wait_for()  # at the end it stops


def test_a_click_on_the_waveform_plays_from_there(review):
    page = review()
    box = page.locator("#waveform").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 30)
    until(page, lambda: playing(page) and position(page) > 3.9)
    assert loudest(page, 2) > 0.1  # the agent, who speaks in the second half
    page.get_by_role("button", name="Pause").click()


def test_a_drag_along_the_waveform_moves_without_playing(review):
    page = review()
    box = page.locator("#waveform").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 100)
    page.mouse.down()
    for quarter in (1.5, 2, 3):
        page.mouse.move(box["x"] + box["width"] * quarter / 4, box["y"] + 100)
    page.mouse.up()
    until(page, lambda: position(page) == pytest.approx(6, abs=0.1))
    assert not playing(page)


def test_a_click_on_a_word_moves_there(review):
    page = review()
    page.get_by_text("Bye", exact=True).click()
    assert position(page) == pytest.approx(5, abs=0.05)
    assert page.locator(".word.now").inner_text() == "Bye"
    page.get_by_role("button", name="Go to 0:01").click()
    assert page.locator(".word.now").inner_text() == "Hello"


def test_keys_move_and_play(review):
    page = review()
    page.locator("#waveform").focus()
    page.keyboard.press("End")
    assert position(page) == pytest.approx(8, abs=0.1)
    page.keyboard.press("ArrowLeft")
    assert position(page) == pytest.approx(3, abs=0.1)
    assert page.locator("#waveform").get_attribute("aria-valuetext") == "0:03 of 0:08"
    page.keyboard.press(" ")
    until(page, lambda: position(page) > 3.2)
    page.keyboard.press(" ")
    until(page, lambda: page.evaluate("document.getElementById('recording').paused"))


def test_waveform_latency_and_facts_are_shown(review):
    page = review()
    until(page, lambda: min(painted(page, LANES)) > 0.1)
    assert len(painted(page, LANES)) == 2
    assert min(painted(page, "#latency-chart canvas")) > 0.02
    assert page.locator("#path-p99").inner_text() == "62 ms"
    assert page.get_by_text("4711").is_visible()
    assert "Model tick" in page.locator("#stages").text_content()


def test_levels_that_are_not_there_yet_are_asked_for_again(review, stand_in):
    stand_in.files["/levels/"] = as_json({"ready": False})
    page = review()
    page.get_by_text("The waveform is being prepared").wait_for()
    assert 0 < max(painted(page, LANES)) < 0.1  # a flat line
    box = page.locator("#waveform").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 30)
    until(page, lambda: playing(page) and position(page) > 3.9)
    stand_in.files["/levels/"] = as_json(LEVELS)
    page.locator("#analysing").wait_for(state="hidden")
    until(page, lambda: min(painted(page, LANES)) > 0.1)


def test_only_the_levels_are_asked_for_again(review, stand_in):
    stand_in.files["/levels/"] = as_json({"ready": False})
    page = review()
    until(page, lambda: asked(page, "/levels/") == 3)
    stand_in.files["/levels/"] = as_json(LEVELS)
    page.locator("#analysing").wait_for(state="hidden")
    page.locator("#waveform").focus()
    page.keyboard.press(" ")
    until(page, lambda: position(page) > 0.2)
    assert fetched(page) == ["/data/"] + 4 * ["/levels/"]


def test_the_waveform_is_zoomed_by_buttons_and_keys(review):
    page = review(viewport=(320, 700))
    zoom_in = page.get_by_role("button", name="Zoom in")
    zoom_out = page.get_by_role("button", name="Zoom out")
    until(page, lambda: zoom_in.get_attribute("aria-disabled") == "false")
    assert zoom_out.get_attribute("aria-disabled") == "true"
    narrow = waveform_width(page)
    zoom_in.click()
    assert waveform_width(page) == pytest.approx(2 * narrow, abs=2)
    page.locator("#waveform").focus()
    for _ in range(8):
        page.keyboard.press("+")
    # As wide as its levels give: 200 of them.
    assert waveform_width(page) == 1200
    assert zoom_in.get_attribute("aria-disabled") == "true"
    for _ in range(8):
        page.keyboard.press("-")
    assert waveform_width(page) == narrow
    assert zoom_out.get_attribute("aria-disabled") == "true"


def test_the_wheel_zooms_with_control_only(review):
    page = review(viewport=(320, 700))
    zoom_in = page.get_by_role("button", name="Zoom in")
    until(page, lambda: zoom_in.get_attribute("aria-disabled") == "false")
    narrow = waveform_width(page)
    page.locator("#waveform").hover()
    page.mouse.wheel(0, 60)
    until(page, lambda: page.evaluate("scrollY") > 0)
    assert waveform_width(page) == narrow
    page.locator("#waveform").hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -120)
    until(page, lambda: waveform_width(page) > narrow)
    page.keyboard.up("Control")


def test_hours_are_drawn_with_few_canvases(review, stand_in, pages):
    hours = {"rate": 3000 / 14_400, "user": [80] * 3000, "agent": [40] * 3000}
    stand_in.files["/levels/"] = as_json({"ready": True, **hours})
    page_of_hours = pages["/"].replace('data-duration="8"', 'data-duration="14400"')
    assert page_of_hours != pages["/"]
    stand_in.pages["/"] = page_of_hours
    page = review(duration_s=14_400)
    until(page, lambda: min(painted(page, LANES)) > 0.1)
    page.locator("#waveform").focus()
    for _ in range(8):
        page.keyboard.press("+")
    assert waveform_width(page) == 18_000
    assert len(page.locator("#waveform canvas").all()) <= 2 * 2 * 13


def test_both_themes(review):
    page = review()
    until(page, lambda: min(painted(page, LANES)) > 0.1)
    light = page.locator(LANES).first.evaluate(COLOUR)
    lines = page.locator("#latency-chart canvas").screenshot()
    page.emulate_media(color_scheme="dark")
    until(page, lambda: page.locator(LANES).first.evaluate(COLOUR) != light)
    until(page, lambda: page.locator("#latency-chart canvas").screenshot() != lines)


def test_nothing_is_wider_than_a_small_phone(review):
    page = review(viewport=(320, 700))
    until(page, lambda: min(painted(page, LANES)) > 0.1)
    page.locator("#latency-chart canvas").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_phone_that_is_turned_upright_gets_narrower_charts(review):
    page = review(viewport=(1100, 700))
    page.locator("#latency-chart canvas").wait_for()
    page.set_viewport_size({"width": 360, "height": 700})
    until(page, lambda: page.evaluate("document.documentElement.scrollWidth") <= 360)


def test_no_levels_are_asked_for_of_a_live_conversation(review, stand_in, pages):
    stand_in.pages["/"] = pages["/"].replace('data-levels="/levels/"', "")
    page = review()
    page.get_by_text("The browser came back").wait_for()
    assert asked(page, "/levels/") == 0
    assert page.locator("#analysing").is_hidden()


def test_it_says_when_there_will_be_no_waveform(visit, stand_in):
    stand_in.files["/data/"] = as_json(DATA)
    page = visit()  # which gets 404 for the levels
    page.get_by_text("The waveform is not ready yet").wait_for()


def test_a_conversation_without_words_or_frames_says_so(review):
    page = review(transcript=[], latency=None, events=[], client_metrics=None)
    assert page.get_by_text("Ada said no words").is_visible()
    for part in ("#latency", "#events", "#client"):
        assert page.locator(part).is_hidden()


def test_events_and_what_the_browser_measured(review):
    page = review()
    page.get_by_text("The browser came back, sound again after 2.3 s").wait_for()
    page.locator("#event-list button").click()
    assert position(page) == 3.0
    assert page.locator("#client-metrics dd").all_inner_texts() == [
        "212 ms", "241 ms", "52 ms", "3", "0.0 ms", "35 ms",
    ]  # fmt: skip


def test_a_recording_that_cannot_be_played_says_what_to_do(visit, stand_in):
    stand_in.files["/data/"] = as_json(DATA)
    stand_in.files["/both.ogg"] = ("audio/ogg", b"not a recording")
    page = visit()
    page.get_by_text("can't play the recording").wait_for()
    assert page.get_by_role("link", name="Both, left and right").is_visible()


def test_data_that_cannot_be_loaded_says_so(visit):
    visit().get_by_text("could not be loaded").wait_for()


def test_data_that_is_refused_says_why(visit, page):
    problem = {"code": "frame_log_too_long", "text": "Too long to be shown."}
    page.route("**/data/", lambda route: route.fulfill(status=422, json=problem))
    visit().get_by_text("Too long to be shown.").wait_for()
