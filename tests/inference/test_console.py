"""Progress: a bar on a terminal, now and then a line elsewhere."""

import io
import logging

from inference import console
from inference.console import Bar, as_bytes, as_seconds, as_time


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_figures_read_well():
    assert [as_bytes(n) for n in (5, 1500, 2.5e6, 16.7e9)] == [
        "5 B",
        "1.5 kB",
        "2.5 MB",
        "16.7 GB",
    ]
    assert [as_time(n) for n in (5, 65, 3700)] == ["0:05", "1:05", "1:01:40"]


def test_a_terminal_gets_one_line_that_is_drawn_again(monkeypatch):
    monkeypatch.setattr(console, "REDRAW_SECONDS", 0)
    screen = Terminal()
    with Bar("model", 100e6, as_bytes, screen) as bar:
        for done in (0, 25e6, 50e6, 100e6):
            bar.to(done)
    drawn = screen.getvalue()
    assert drawn.endswith("\n")
    assert drawn.count("\n") == 1
    assert "model [######..................]  25%, 25.0 MB of 100.0 MB" in drawn
    assert "100%" in drawn


def test_elsewhere_nothing_is_drawn_and_a_line_comes_now_and_then(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    log = io.StringIO()
    with Bar("talk", 10, as_seconds, log) as bar:
        for done in range(11):
            bar.to(done)
    assert (log.getvalue(), caplog.text) == ("", "")
    monkeypatch.setattr(console, "LINE_SECONDS", 0)
    with Bar("talk", 10, as_seconds, log) as bar:
        bar.to(5)
    assert "50%, 5.0 s of 10.0 s" in caplog.text


def test_what_was_there_before_does_not_count_for_the_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    bar = Bar("model", 100, as_bytes, io.StringIO())
    bar.to(80)
    now[0] += 10
    bar.to(90)  # 10 in 10 s: 10 s left, not 1
    assert "0:10 left" in bar.line()


def test_nothing_to_do_is_done():
    assert "100%" in Bar("empty", 0, as_bytes, io.StringIO()).line()
