"""Chromium for tests, with a sound file as its microphone."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests import sounds

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
AUTOPLAY = "--autoplay-policy=no-user-gesture-required"


def launch(playwright: Playwright, microphone: Path, *more: str) -> Browser:
    """``microphone``: a WAV, played over and over; ``more``: further flags."""
    sound = f"--use-file-for-fake-audio-capture={microphone}"
    return playwright.chromium.launch(
        executable_path="/usr/bin/chromium", args=[*FLAGS, sound, *more]
    )


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """With speech at the microphone. A conftest or a module imports it to have it."""
    path = tmp_path_factory.mktemp("microphone") / "voice.wav"
    path.write_bytes(sounds.encode(sounds.speech()))
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread, which Django takes for ours.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = launch(playwright, path)
        yield browser
        browser.close()
