"""What our Daphne does otherwise than Daphne."""

import subprocess
import sys

SCRIPT = """
import asyncio, uvloop
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
from personaplex_site.daphne_server import wait_for_closing_browsers
wait_for_closing_browsers()
from daphne.server import Server
made = Server(application=None, endpoints=["tcp:port=0:interface=127.0.0.1"])
from twisted.internet import reactor
reactor.callWhenRunning(reactor.stop)
made.run()
print(made.ws_factory.closeHandshakeTimeout, made.ws_factory.buildProtocol)
"""


def test_a_browser_has_time_to_answer_a_close_frame():
    """In a process of its own: Twisted's loop can be chosen once."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 ")
