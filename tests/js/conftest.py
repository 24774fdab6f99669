"""Chromium with a file as its microphone, and a stand-in for the site."""

import time

import pytest
from playwright.sync_api import sync_playwright

from tests.chromium import AUTOPLAY, launch
from tests.js.stand_in import StandIn

# Listens at the loudspeaker: everything that is connected to it.
SPY = """
window.spied = {};
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...rest) {
  if (target === this.context.destination) {
    if (spied.meter?.context !== this.context) {
      spied.meter = this.context.createAnalyser();
      spied.meter.fftSize = 2048;
    }
    connect.call(this, spied.meter);
  }
  return connect.call(this, target, ...rest);
};
window.heard = () => {
  const samples = new Float32Array(2048);
  spied.meter.getFloatTimeDomainData(samples);
  return Math.max(...samples.map(Math.abs));
};
"""


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """One second of tone, one of silence: what the fake microphone hears."""
    import wave

    import numpy as np

    path = tmp_path_factory.mktemp("microphone") / "tones.wav"
    t = np.arange(48_000) / 48_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * t) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(np.concatenate([tone, np.zeros_like(tone)]).tobytes())
    return path


# Not for the session: while a synchronous playwright lives, its event loop runs in this
# thread, and asynchronous tests that come later could not run theirs.
@pytest.fixture(scope="package")
def playwright():
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def chromium(playwright, tones):
    browser = launch(playwright, tones, AUTOPLAY)
    yield browser
    browser.close()


@pytest.fixture
def page(chromium):
    context = chromium.new_context(permissions=["microphone"])
    page = context.new_page()
    yield page
    context.close()


@pytest.fixture
def stand_in(pages):
    """Serves the test module's `pages`, our static files and the socket."""
    stand_in = StandIn(pages)
    stop = stand_in.run_in_thread()
    yield stand_in
    stop()


@pytest.fixture
def visit(page, stand_in):
    """Opens the page; fails the test for any error in it and any breach of the CSP."""
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda m: problems.append(m.text) if "Content Security" in m.text else None,
    )
    page.add_init_script(SPY)

    def visit(script=None):
        if script:
            page.add_init_script(script)
        page.goto(stand_in.url)
        return page

    yield visit
    assert not problems


@pytest.fixture
def visit_with(playwright, stand_in):
    """Opens the page in a Chromium that has this file as its microphone."""
    browsers = []

    def visit(microphone):
        browsers.append(launch(playwright, microphone, AUTOPLAY))
        context = browsers[-1].new_context(permissions=["microphone"])
        page = context.new_page()
        page.goto(stand_in.url)
        return page

    yield visit
    for browser in browsers:
        browser.close()


def until(page, condition, seconds=60):
    """Wait for something that page or stand-in will do, however slow the machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        page.wait_for_timeout(50)


def loudest(page, seconds, enough=0.1):
    """The loudest level at the loudspeaker; at once when it is more than enough."""
    until = time.monotonic() + seconds
    most = 0
    while most <= enough and time.monotonic() < until:
        most = max(most, page.evaluate("heard()"))
        page.wait_for_timeout(40)
    return most
