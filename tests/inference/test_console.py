"""Progress: a bar on a terminal, now and then a line in the log elsewhere."""

import io
import logging

import pytest

from inference import console
from inference.console import Bar, as_bytes, as_time


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_figures_read_well():
    assert [as_bytes(n) for n in (5, 1500, 2.5e6, 16.7e9)] == [
        "5.00B",
        "1.50kB",
        "2.50MB",
        "16.7GB",
    ]
    assert [as_time(n) for n in (5, 65, 3700)] == ["00:05", "01:05", "1:01:40"]


def test_a_terminal_gets_one_line_that_is_drawn_again(monkeypatch):
    monkeypatch.setattr(console, "REDRAW_SECONDS", 0)
    screen = Terminal()
    with Bar("model", 100e6, "B", screen) as bar:
        for done in (0, 25e6, 50e6, 100e6):
            bar.to(done)
    drawn = screen.getvalue()
    assert drawn.endswith("\n")
    assert drawn.count("\n") == 1
    assert "model:  25%" in drawn and "25.0M/100M" in drawn
    assert "100%" in drawn


def test_elsewhere_nothing_is_drawn_and_a_line_comes_now_and_then(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    log = io.StringIO()
    with Bar("talk", 10, "s", log) as bar:
        for done in range(11):
            bar.to(done)
    assert (log.getvalue(), caplog.text) == ("", "")
    monkeypatch.setattr(console, "LINE_SECONDS", 0)
    with Bar("talk", 10, "s", log) as bar:
        bar.to(0)
        bar.to(5)
    assert log.getvalue() == ""
    assert "talk: 50%, 5.00s of 10.0s" in caplog.text
    assert "\r" not in caplog.text


def test_what_was_there_before_does_not_count_for_the_time_left(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(console, "LINE_SECONDS", 0)
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    bar = Bar("model", 100, "B", io.StringIO())
    bar.to(80)
    now[0] += 10
    bar.to(90)  # 10 in 10 s: 10 s left, not 1
    assert "90%" in caplog.text and "00:10 left" in caplog.text


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_nothing_to_do_is_no_error(stream):
    with Bar("empty", 0, "B", stream()) as bar:
        bar.to(0)


def test_it_may_go_back_and_never_beyond_the_end():
    screen = Terminal()
    with Bar("model", 100, "B", screen) as bar:
        for done in (90, 20, 250):
            bar.to(done)
    assert "100%" in screen.getvalue()
