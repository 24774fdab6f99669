"""The live page in Chromium against a stand-in for the site that echoes frames."""

import re
import wave
from types import SimpleNamespace

import numpy as np
import pytest
import soxr
from django.template.loader import render_to_string
from playwright.sync_api import expect

from conversations.audio.opus import Decoder
from personas.models import Persona, PersonaVersion
from tests import sounds
from tests.js.conftest import loudest, until

WORKER = {
    "model": "tiny",
    "trained": True,
    "free": 2,
    "slots": 2,
    "context_seconds": 240,
    "tick_ms": 20,
    "too_slow": False,
    "voice_problem": "",
}


CHOICES = {
    "temperature_text": {"least": 0.1, "most": 1.5, "default": 0.7},
    "top_k_text": {"least": 1, "most": 1000, "default": 25},
    "seed": {"least": 0, "most": 2**31 - 1, "default": None},
}


def talk_page(name="Ada", **worker):
    persona = Persona(name=name)
    context = {
        "persona": persona,
        "version": PersonaVersion(persona=persona, number=2),
        "socket_path": f"/ws/personas/{persona.id}/talk/",
        "max_seconds": 1800,
        "sampling_choices": CHOICES,
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


def talk_on(page, stand_in, frames=12):
    """Until so many more frames have come."""
    wanted = len(stand_in.frames) + frames
    until(page, lambda: len(stand_in.frames) >= wanted)


def latency(page):
    return int(re.match(r"(\d+) ms", page.locator("#latency").inner_text())[1])


def end(page):
    page.get_by_role("button", name="End", exact=True).click()
    page.locator("#talk[data-phase=ended]").wait_for()


def test_no_frame_is_skipped_and_the_answer_is_heard_without_growing_delay(
    visit, stand_in
):
    page = visit()
    start(page)
    page.wait_for_timeout(4000)
    early = latency(page)
    assert loudest(page, 2.5) > 0.1
    page.wait_for_timeout(9_000)
    late = latency(page)
    end(page)
    frames = stand_in.frames
    assert [f.seq for f in frames] == list(range(len(frames)))
    assert {f.kind for f in frames} == {1}
    # A busy machine's microphone may be slower than the clock; never faster.
    seconds = frames[-1].at - frames[0].at
    assert (len(frames) - 1) / seconds < 12.5 * 1.03
    assert 60 <= early <= 320
    assert late <= early + 150  # the buffer may widen to its bound, no more
    assert "Hello there." in page.locator("#transcript").inner_text()


def test_muting_sends_flagged_silence_and_keeps_the_clock(visit, stand_in):
    page = visit("delete window.AudioEncoder")
    start(page)
    talk_on(page, stand_in)
    page.keyboard.press("m")
    talk_on(page, stand_in, 20)
    assert page.get_by_role("button", name="Unmute").is_visible()
    page.keyboard.press("m")
    talk_on(page, stand_in)
    end(page)
    muted = [f for f in stand_in.frames if f.flags & 1]
    assert len(muted) >= 15
    assert muted[-1].seq - muted[0].seq == len(muted) - 1
    assert not stand_in.frames[0].flags
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


def test_a_browser_that_encodes_20_ms_joins_its_packets(visit, stand_in):
    page = visit(
        """
        const ask = AudioEncoder.isConfigSupported;
        AudioEncoder.isConfigSupported = (config) =>
          config.opus?.frameDuration > 60_000
            ? Promise.reject(new TypeError("invalid frame duration"))
            : ask.call(AudioEncoder, config);
        """
    )
    start(page)
    page.wait_for_timeout(1500)
    assert loudest(page, 2.2) > 0.1
    end(page)
    assert stand_in.starts()[0]["audio"] == "opus"
    frames = stand_in.frames
    assert [f.seq for f in frames] == list(range(len(frames)))
    decoder = Decoder()
    sound = np.concatenate([decoder.decode(f.payload) for f in frames])
    spectrum = np.abs(np.fft.rfft(sound.astype(float)))
    assert spectrum.argmax() * 24_000 / len(sound) == pytest.approx(440, abs=3)


def test_a_stall_is_repaid_and_counted(visit, stand_in):
    stand_in.stall_at, stand_in.stall_s = 30, 0.5
    page = visit()
    start(page)
    page.wait_for_timeout(2000)
    before = latency(page)
    page.wait_for_timeout(5000)
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
    talk_on(page, stand_in)
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


def test_a_full_worker_is_shown_and_tried_again_by_itself(visit, stand_in):
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


@pytest.mark.parametrize(
    ("code", "links"),
    [
        (4404, ["Conversations with Ada", "Your personas"]),
        (4401, ["Sign in"]),
        (4413, []),
    ],
)
def test_a_problem_leads_to_where_one_can_go_on(visit, stand_in, code, links):
    stand_in.close_at = (5, code)
    page = visit()
    page.get_by_role("button", name="Talk to Ada").click()
    page.locator("#talk[data-phase=problem]").wait_for()
    shown = page.locator("#problem").get_by_role("link").all_inner_texts()
    assert shown == links


def test_who_has_too_many_conversations_is_led_to_them(visit, stand_in):
    stand_in.errors = [
        {"code": "too_many", "text": "You may have 3 open.", "retryable": True}
    ]
    page = visit()
    page.get_by_role("button", name="Talk to Ada").click()
    link = page.get_by_role("link", name="Your conversations")
    assert link.get_attribute("href") == "/conversations/"
    page.get_by_role("button", name="Try again").click()
    page.locator("#talk[data-phase=live]").wait_for()
    assert link.is_hidden()
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


def test_a_lost_connection_resumes_the_conversation(visit, stand_in):
    stand_in.cut_at, stand_in.refuse_s = 30, 0.4
    page = visit("delete window.AudioEncoder")
    start(page)
    page.get_by_text("Reconnecting").wait_for()
    page.locator("#talk[data-phase=live]").wait_for()
    page.wait_for_timeout(1200)
    assert loudest(page, 2.2) > 0.1
    end(page)
    first, second = stand_in.starts()
    assert "resume" not in first
    assert set(second["resume"]) == {"conversation", "token", "have"}
    assert 15 <= second["resume"]["have"] <= 30
    seqs = [frame.seq for frame in stand_in.frames]
    assert seqs == sorted(set(seqs))
    after = [frame for frame in stand_in.frames if frame.seq > 30]
    assert after[0].seq >= 34  # what was said meanwhile is skipped, not sent later
    span = after[-1].at - after[0].at
    assert after[-1].seq - after[0].seq == pytest.approx(12.5 * span, abs=4)
    assert 2 <= len(stand_in.stats) <= 8
    assert stand_in.stats[-1]["dropped"] >= 3
    assert stand_in.stats[-1]["latency_ms"] > 0


def test_a_connection_that_can_not_come_back_says_so(visit, stand_in):
    stand_in.cut_at, stand_in.refuse_s, stand_in.resume_seconds = 10, 60, 0.8
    page = visit()
    start(page)
    page.get_by_text("longer than a conversation is kept open").wait_for()
    link = page.get_by_role("link", name="See and hear the conversation")
    assert link.get_attribute("href").endswith(
        "/conversations/5c1b0c0e-0000-4000-8000-000000000000/"
    )
    assert page.get_by_role("button", name="Try again").is_visible()


def test_a_place_in_the_queue_is_shown_kept_and_called(visit, stand_in):
    stand_in.queue = [
        {"position": 2, "of": 3, "eta_s": 130},
        {"position": 1, "of": 2, "eta_s": 20},
    ]
    page = visit()
    page.evaluate(
        """
        window.phases = [];
        const talk = document.getElementById("talk");
        new MutationObserver(() => phases.push(talk.dataset.phase)).observe(
          talk, { attributeFilter: ["data-phase"] });
        """
    )
    page.get_by_role("button", name="Talk to Ada").click()
    page.get_by_text("Number 2 in the queue").wait_for()
    assert page.title().startswith("(2) ")
    page.get_by_text("You are next").wait_for()
    page.locator("#talk[data-phase=live]").wait_for()
    assert not page.title().startswith("(")
    phases = page.evaluate("phases")
    assert phases[phases.index("waiting") :] == ["waiting", "live"]
    end(page)


def test_the_queue_can_be_left(visit, stand_in):
    stand_in.queue, stand_in.queue_s = [{"position": 9, "of": 9, "eta_s": 999}], 20
    page = visit()
    page.get_by_role("button", name="Talk to Ada").click()
    page.get_by_role("button", name="Leave the queue").click()
    page.locator("#talk[data-phase=idle]").wait_for()
    until(page, lambda: stand_in.events[-1] == {"type": "leave"})


def test_going_back_marks_the_text_and_continues(visit, stand_in):
    page = visit()
    page.set_viewport_size({"width": 360, "height": 780})
    stand_in.at[20] = [{"kind": "notice", "code": "context_low", "text": "Soon full."}]
    start(page)
    page.get_by_text("Soon full.").wait_for()
    page.get_by_role("button", name="Back 5 seconds").click()
    page.get_by_text("One moment").wait_for()
    page.locator("#talk[data-phase=live]").wait_for()
    page.keyboard.press("r")
    page.locator(".mark").nth(1).wait_for()
    assert page.locator(".line .undone").count()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    end(page)
    assert {"type": "rewind", "seconds": 5} in stand_in.events
    assert {"type": "say_again"} in stand_in.events


def test_wishes_for_the_sampling_are_sent_and_remembered(visit, stand_in):
    page = visit()
    page.get_by_text("Advanced: how it speaks").click()
    page.get_by_label("Temperature of the words").fill("0.5")
    page.get_by_label("Choice of words").fill("5000")
    page.reload()
    start(page)
    end(page)
    page.get_by_role("button", name="Again with the same seed").click()
    page.locator("#talk[data-phase=live]").wait_for()
    end(page)
    first, second = stand_in.starts()
    assert first["sampling"] == {"temperature_text": 0.5, "top_k_text": 1000}
    assert second["sampling"]["seed"] == 7


NO_MICROPHONE = (
    "navigator.mediaDevices.getUserMedia = async () => "
    "{{ throw new DOMException('', '{}'); }}"
)


def test_without_a_microphone_one_talks_by_sample_questions(visit, stand_in):
    page = visit(
        "delete window.AudioEncoder;" + NO_MICROPHONE.format("NotAllowedError")
    )
    start(page)
    assert page.get_by_text("Live, without a microphone").is_visible()
    assert page.get_by_text("is blocked").is_visible()
    page.get_by_role("button", name="Where do you work?").click()
    page.locator(".sample[aria-pressed=true]").wait_for()
    page.locator(".sample[aria-pressed=true]").wait_for(state="detached")
    page.wait_for_timeout(400)
    end(page)
    loud = [
        np.abs(np.frombuffer(frame.payload, "<i2")).max() > 500
        for frame in stand_in.frames
    ]
    assert 8 <= sum(loud) <= 18  # 1.1 s of speech
    assert not loud[0]
    assert not loud[-1]
    seqs = [frame.seq for frame in stand_in.frames]
    assert seqs == list(range(len(seqs)))


def test_an_unplugged_microphone_is_replaced_by_the_default_one(visit, stand_in):
    page = visit(
        """
        const ask = MediaDevices.prototype.getUserMedia;
        MediaDevices.prototype.getUserMedia = async function (wanted) {
          const stream = await ask.call(this, wanted);
          window.track = stream.getAudioTracks()[0];
          return stream;
        };
        """
    )
    start(page)
    page.evaluate("track.stop(); track.dispatchEvent(new Event('ended'))")
    page.get_by_text("The microphone was disconnected. Now using").wait_for()
    talk_on(page, stand_in, 5)
    assert page.evaluate("track.readyState") == "live"
    end(page)


def test_another_microphone_is_taken_in_mid_conversation(visit, stand_in):
    page = visit()
    start(page)
    page.get_by_text("Microphone and loudspeaker").click()
    names = page.get_by_label("Microphone", exact=True).locator("option")
    other = names.nth(names.count() - 1).inner_text()
    page.get_by_label("Microphone", exact=True).select_option(label=other)
    page.get_by_text(f"Now using “{other}”").wait_for()
    speakers = page.get_by_label("Loudspeaker").locator("option")
    page.get_by_label("Loudspeaker").select_option(index=speakers.count() - 1)
    talk_on(page, stand_in, 5)
    end(page)
    page.reload()
    expect(page.locator("#microphone option:checked")).to_have_text(other)


def test_a_decoder_that_fails_is_replaced(visit, stand_in):
    stand_in.broken_at = 15
    page = visit()
    start(page)
    until(page, lambda: any(frame.seq > 25 for frame in stand_in.frames))
    assert loudest(page, 2.2) > 0.1
    assert page.locator("#talk").get_attribute("data-phase") == "live"
    end(page)


@pytest.mark.parametrize(
    ("name", "words"),
    [("NotAllowedError", "is blocked"), ("NotFoundError", "No microphone was found")],
)
def test_a_refused_or_missing_microphone_says_what_to_do(visit, stand_in, name, words):
    stand_in.missing = ("/static/samples/",)
    page = visit(NO_MICROPHONE.format(name))
    page.get_by_role("button", name="Talk to Ada").click()
    page.get_by_text(words).wait_for()
    assert not stand_in.frames


def test_an_insecure_page_says_how_to_open_it(visit):
    page = visit("Object.defineProperty(window, 'isSecureContext', {value: false})")
    assert page.get_by_text("only to secure pages").is_visible()
    assert page.get_by_role("button", name="Talk to Ada").is_hidden()


@pytest.mark.parametrize(
    ("answers", "words"),
    [(True, "The site answers, but its live connection"), (False, "can't be reached")],
)
def test_websockets_that_are_blocked_are_distinguished_from_a_site_that_is_away(
    visit, page, answers, words
):
    """A proxy or firewall lets pages through, but no WebSocket."""
    visit()
    page.evaluate(
        """() => {
            window.WebSocket = class extends WebSocket {
                constructor(url) { super(url.replace("/ws/", "/blocked/")); }
            };
        }"""
    )
    if not answers:
        page.route("**/healthz", lambda route: route.abort())
    page.get_by_role("button", name="Talk to Ada").click()
    expect(page.locator("#problem-text")).to_contain_text(words)


def test_a_second_press_of_enter_does_no_harm(visit, page):
    visit()
    page.get_by_role("button", name="Talk to Ada").press("Enter")
    page.keyboard.press("Enter")
    page.locator("#talk[data-phase=live]").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="End", exact=True).press("Enter")
    page.locator("#talk[data-phase=ended]").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)  # a new conversation would begin within it
    assert page.locator("#talk").get_attribute("data-phase") == "ended"


def test_the_untrained_model_is_shown_before_the_start(visit, stand_in):
    stand_in.pages["/"] = talk_page(trained=False)
    assert visit().get_by_text("it can’t talk yet").is_visible()


def test_an_absent_worker_is_shown_before_the_start(visit, stand_in):
    stand_in.pages["/"] = talk_page(up=False)
    assert visit().get_by_text("No voice engine is running").is_visible()


def test_a_closed_page_closes_the_socket(visit, stand_in):
    page = visit()
    start(page)
    page.goto("about:blank")
    until(page, lambda: stand_in.closes)


def test_talking_again_starts_from_nothing(visit, stand_in):
    page = visit()
    start(page)
    talk_on(page, stand_in)
    end(page)
    stand_in.frames.clear()
    page.get_by_role("button", name="Talk again").click()
    page.locator("#talk[data-phase=live]").wait_for()
    talk_on(page, stand_in, 5)
    end(page)
    assert stand_in.frames[0].seq == 0


def write_microphone(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, len(samples), "NONE", ""))
        file.writeframes((32767 * np.clip(samples, -1, 1)).astype("<i2").tobytes())


HEARD = {
    "quiet": (1 / 250, "Almost nothing is heard from", "hardly heard"),
    "overdriven": (30.0, "hard to understand", "too loud"),
}


@pytest.mark.parametrize("problem", HEARD)
def test_a_microphone_that_is_no_use_is_reported_within_seconds(
    visit_with, stand_in, tmp_path, problem
):
    gain, notice, status = HEARD[problem]
    speech = soxr.resample(sounds.speech(8).astype(np.float32), 24_000, 48_000)
    write_microphone(tmp_path / "voice.wav", gain * speech)
    page = visit_with(tmp_path / "voice.wav")
    start(page)
    page.get_by_text(notice).wait_for(timeout=60_000)
    expect(page.locator("#status")).to_contain_text(status)
    page.get_by_role("button", name="Choose a microphone").click()
    expect(page.get_by_label("Microphone", exact=True)).to_be_focused()
    end(page)


def test_a_microphone_that_gets_better_is_no_longer_complained_about(visit, stand_in):
    page = visit(
        """
        const add = MediaStreamAudioSourceNode.prototype.connect;
        MediaStreamAudioSourceNode.prototype.connect = function (target) {
          window.gain = new GainNode(this.context, { gain: 0 });
          return add.call(this, gain).connect(target);
        };
        """
    )
    start(page)
    page.get_by_text("Nothing at all comes from").wait_for(timeout=60_000)
    page.evaluate("gain.gain.value = 1")
    page.get_by_text("Nothing at all comes from").wait_for(
        state="detached", timeout=60_000
    )
    expect(page.locator("#status")).to_have_text("Live")
    end(page)


INTERRUPTED = """
window.contexts = [];
window.AudioContext = class extends AudioContext {
  constructor(...options) {
    super(...options);
    contexts.push(this);
  }
  resume() {
    if (window.interrupted) return Promise.reject(new DOMException(""));
    return super.resume();
  }
};
"""


def test_an_interrupted_sound_device_pauses_and_resumes_by_itself(visit, stand_in):
    """As a phone call does: the site gets flagged silence meanwhile."""
    page = visit(INTERRUPTED)
    start(page)
    talk_on(page, stand_in, 5)
    page.evaluate("window.interrupted = true; contexts.at(-1).suspend()")
    page.locator("#talk[data-phase=paused]").wait_for()
    assert page.get_by_text("as it does for a phone call").is_visible()
    assert page.get_by_role("button", name="Continue").is_visible()
    before = len(stand_in.frames)
    talk_on(page, stand_in, 25)
    meanwhile = stand_in.frames[before + 15 : before + 25]
    assert all(frame.flags & 1 for frame in meanwhile)
    page.evaluate("window.interrupted = false")
    page.locator("#talk[data-phase=live]").wait_for()
    expect(page.locator(".notice[data-code=paused]")).to_have_count(0)
    talk_on(page, stand_in, 10)
    assert not stand_in.frames[-1].flags & 1
    assert loudest(page, 10) > 0.1
    end(page)
    seqs = [frame.seq for frame in stand_in.frames]
    assert seqs == sorted(set(seqs))


def test_a_call_that_takes_the_microphone_gives_it_back(visit, stand_in):
    page = visit(
        INTERRUPTED
        + """
        const ask = MediaDevices.prototype.getUserMedia;
        MediaDevices.prototype.getUserMedia = async function (wanted) {
          if (window.interrupted) throw new DOMException("", "NotReadableError");
          const stream = await ask.call(this, wanted);
          window.track = stream.getAudioTracks()[0];
          return stream;
        };
        """
    )
    start(page)
    page.evaluate(
        """window.interrupted = true;
        contexts.at(-1).suspend();
        track.stop();
        track.dispatchEvent(new Event("ended"));"""
    )
    page.locator("#talk[data-phase=paused]").wait_for()
    page.evaluate("window.interrupted = false")
    page.get_by_text("Now using").wait_for()
    page.locator("#talk[data-phase=live]").wait_for()
    assert page.evaluate("track.readyState") == "live"
    end(page)


def test_a_microphone_that_the_system_muted_sends_flagged_silence(visit, stand_in):
    page = visit(
        """
        const make = AudioContext.prototype.createMediaStreamSource;
        AudioContext.prototype.createMediaStreamSource = function (stream) {
          window.track = stream.getAudioTracks()[0];
          return make.call(this, stream);
        };
        """
    )
    start(page)
    page.evaluate("track.dispatchEvent(new Event('mute'))")
    page.get_by_text("Your system muted the microphone").wait_for()
    before = len(stand_in.frames)
    talk_on(page, stand_in, 25)
    assert all(frame.flags & 1 for frame in stand_in.frames[before + 15 :])
    page.evaluate("track.dispatchEvent(new Event('unmute'))")
    expect(page.locator(".notice[data-code=silenced]")).to_have_count(0)
    end(page)


def announcements(page):
    """Every change of a live region, as screen readers announce it."""
    page.evaluate(
        """
        window.spoken = [];
        const live = "[aria-live=polite], [aria-live=assertive], [role=status]";
        new MutationObserver((changes) => {
          for (const { target, addedNodes } of changes) {
            const element = target.nodeType === 1 ? target : target.parentElement;
            const region = element?.closest("[aria-live], [role=status]");
            if (!region?.matches(live)) continue;
            for (const node of addedNodes) spoken.push(node.textContent);
          }
        }).observe(document.body, { childList: true, subtree: true });
        """
    )


def test_screen_readers_get_whole_sentences_or_nothing_by_choice(visit, stand_in):
    stand_in.pieces = (" Ho", "w", " can", " I", " help", "?")
    page = visit()
    announcements(page)
    start(page)
    until(page, lambda: sum("help" in text for text in page.evaluate("spoken")) > 1)
    spoken = page.evaluate("spoken")
    assert "How can I help?" in spoken
    assert not [
        text for text in spoken if text.strip() in ("Ho", "w", "can", "help", "?")
    ]
    assert "How can I help" in page.locator("#transcript").inner_text()
    page.get_by_text("Keyboard and behaviour").click()
    page.get_by_label("to screen readers").uncheck()
    before = page.evaluate("spoken.length")
    talk_on(page, stand_in, 30)
    assert not [text for text in page.evaluate("spoken")[before:] if "help" in text]
    page.reload()
    expect(page.locator("#announce")).not_to_be_checked()


def test_a_long_name_fits_a_small_phone_and_begins_with_a_whole_character(
    visit, stand_in
):
    stand_in.pages["/"] = talk_page(name="😀" + "W" * 79)
    page = visit()
    page.set_viewport_size({"width": 320, "height": 640})
    page.locator("#start").click()
    page.locator("#talk[data-phase=live]").wait_for()
    assert page.locator("#orb-initial").inner_text() == "😀"
    for details in page.locator("details:visible").all():
        details.evaluate("element => { element.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    end(page)
