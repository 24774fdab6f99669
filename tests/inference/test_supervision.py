"""The restart policy that both supervisors share."""

import asyncio
import os
import signal
import sys

import pytest

from inference import supervision
from inference.supervision import Backoff, ChildProcess, ended_how


def test_the_delay_doubles_up_to_its_maximum():
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.deaths == 7


def test_a_long_life_starts_the_delays_again():
    backoff = Backoff()
    for _ in range(5):
        backoff.after(0.1)
    assert backoff.after(supervision.SETTLED_SECONDS + 1) == 1
    assert backoff.deaths == 1
    assert backoff.after(supervision.SETTLED_SECONDS) == 2


def test_a_child_that_dies_for_days_is_still_restarted():
    """2 ** 1,100 is no float: the delay once failed to be computed, after nine hours
    of deaths, and the child was given up without a word."""
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(1100)][-1] == supervision.MAX_DELAY


def test_how_a_child_ended_is_said():
    assert ended_how(3) == "ended (3)"
    assert ended_how(-signal.SIGKILL) == "was killed by signal 9"


async def test_a_grandchild_that_keeps_the_pipe_open_does_not_delay_the_end():
    code = "import os, time; os.fork() or time.sleep(600); os._exit(4)"
    child = ChildProcess(
        [sys.executable, "-c", code], signal.SIGKILL, stdout=-1, process_group=0
    )
    async with asyncio.timeout(60):
        assert await child.wait() == 4
    assert child.ended
    child.send_signal(signal.SIGTERM)  # too late, and no error
    child.kill_group()
    child.stdout.close()


async def test_what_can_not_be_started_is_an_os_error():
    with pytest.raises(OSError, match="no-such-program"):
        ChildProcess(["/no-such-program"], signal.SIGTERM, env=dict(os.environ))
