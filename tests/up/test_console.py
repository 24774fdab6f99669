import errno
import logging
import re
import threading
import time

from personaplex_site.up import console as console_module
from personaplex_site.up.console import Console, LogFile


class StoppedTerminal:
    """A terminal stopped with Ctrl-S: a write waits until it continues."""

    def __init__(self):
        self.resumed = threading.Event()
        self.shown = []

    def write(self, text):
        self.resumed.wait(10)
        self.shown.append(text)

    def flush(self):
        pass

    def isatty(self):
        return False


def test_a_stopped_terminal_costs_lines_not_time(tmp_path, monkeypatch):
    terminal = StoppedTerminal()
    monkeypatch.setattr(console_module.sys, "stderr", terminal)
    monkeypatch.setattr(console_module, "WAITING_LINES", 10)
    console = Console(tmp_path)

    begun = time.monotonic()
    for number in range(100):
        console.child("web", f"line {number}")
    assert time.monotonic() - begun < 1

    terminal.resumed.set()
    console.close()
    assert console.dropped >= 88
    dropped = re.findall(r"(\d+) lines were not shown", "".join(terminal.shown))
    assert sum(map(int, dropped)) == console.dropped
    assert len((tmp_path / "web.log").read_text().splitlines()) == 100


def test_a_full_disk_is_said_once_and_what_is_missing_is_counted(tmp_path):
    said = []
    log = LogFile(tmp_path / "web.log", said.append)

    def write(text):
        log.emit(logging.makeLogRecord({"msg": text}))

    write("before")
    log.stream.close()
    log.stream = FullDisk()
    for number in range(1000):
        write(f"lost {number}")
    log.stream = None  # opened again by the next line
    write("after")
    log.close()

    assert [text.partition("web.log ")[2] for text in said] == [
        "can't be written: [Errno 28] No space left on device",
        "can be written again; 1000 lines are missing",
    ]
    assert (tmp_path / "web.log").read_text().splitlines() == [
        "before",
        "after",
        "1000 lines are missing here: they could not be written",
    ]


class FullDisk:
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def seek(self, *where):
        pass

    def tell(self):
        return 0

    def flush(self):
        pass
