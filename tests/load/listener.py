"""Chromium on the live page, with its microphone and loudspeaker recorded."""

from __future__ import annotations

import base64
import contextlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from tests.chromium import AUTOPLAY, FLAGS
from tests.load.hearing import Tape

TAP = (Path(__file__).parent / "tap.js").read_text()
# The sounds of faults are no speech: the browser's processing would take them away.
PLAIN_MICROPHONE = """
const media = navigator.mediaDevices;
const ask = media.getUserMedia.bind(media);
media.getUserMedia = wanted => ask({ ...wanted, audio: {
  ...(wanted.audio === true ? {} : wanted.audio),
  echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
"""


class Listener:
    """``take`` often: the page keeps what it recorded until then."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.device_ms = 0.0
        self.frames: list[
            list[float]
        ] = []  # seq, sent, answered (ms), at the site (ms)
        self._parts: list[np.ndarray] = []
        self._rate = 0.0
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def start(self, address: str, seconds: float = 60) -> None:
        """Begin to talk, and wait until it is live."""
        self.page.goto(address)
        self.page.locator("#start:not([disabled])").click()
        self.page.locator("#talk[data-phase=live]").wait_for(timeout=1000 * seconds)

    @property
    def phase(self) -> str:
        return str(self.page.locator("#talk").get_attribute("data-phase"))

    def listen(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.page.wait_for_timeout(1000 * min(left, 2.0))
            self.take()

    def take(self) -> float:
        """Seconds recorded so far."""
        tapped = self.page.evaluate("window.tapped()")
        if tapped["rate"]:
            self._rate, self.device_ms = tapped["rate"], tapped["device"]
        data = base64.b64decode(tapped["sound"])
        self._parts.append(np.frombuffer(data, "<i2").reshape(-1, 2))
        self.frames += self.page.evaluate("window.tappedFrames()")
        return sum(map(len, self._parts)) / (self._rate or 1)

    def tape(self) -> Tape:
        self.take()
        pairs = np.concatenate(self._parts).astype(np.float32) / 32768
        return Tape(self._rate, pairs[:, 0].copy(), pairs[:, 1].copy())

    def end(self) -> None:
        self.page.locator("#end").click()
        self.page.locator("#kept").wait_for(timeout=30_000)


@contextlib.contextmanager
def chromium(
    microphone: Path,
    origin: str,
    cookie: str,
    *,
    run_in: Sequence[str] = (),
    plain_microphone: bool = True,
) -> Iterator[Any]:
    """Makes Listeners. ``cookie``: "name=value" of a signed-in session; ``run_in``:
    a prefix of the command, such as ``ip netns exec …``."""
    program = "/usr/bin/chromium"
    if run_in:
        script = microphone.with_name("chromium-inside")
        script.write_text(f'#!/bin/sh\nexec {" ".join(run_in)} {program} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        program = os.fspath(script)
    name, _, value = cookie.partition("=")
    flags = [
        *(*FLAGS, AUTOPLAY, f"--use-file-for-fake-audio-capture={microphone}"),
        # Browsers give a microphone to secure origins only.
        f"--unsafely-treat-insecure-origin-as-secure={origin}",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)

        def listener() -> Listener:
            context = browser.new_context(
                permissions=["microphone"],
                bypass_csp=True,  # for the recording worklet only
            )
            context.add_cookies([{"name": name, "value": value, "url": origin}])
            page = context.new_page()
            page.add_init_script(TAP)
            if plain_microphone:
                page.add_init_script(PLAIN_MICROPHONE)
            return Listener(page)

        yield listener
        browser.close()
