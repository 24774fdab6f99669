"""Chromium for tests, with a sound file as its microphone."""

from pathlib import Path

from playwright.sync_api import Browser, Playwright

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
