"""An inference worker whose model is an echo: all else of it is the product's own.

    python -m tests.load.echo_worker --port 8765 --site http://127.0.0.1:8000

The agent says what the user said one frame (80 ms) earlier, and answers at once, so
that what a load test measures is the way there and back.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import signal
from collections import deque

from inference.engine.model_thread import ModelThread
from inference.worker import event_loop
from inference.worker.options import WorkerOptions
from inference.worker.server import WorkerServer
from tests.inference.echo_engine import EchoEngine

WORDS = (" well", " yes", ",", " I", " see", " what", " you", " mean", ".")
FRAMES_A_WORD = 4  # three pieces a second, as people speak


class LoadEngine(EchoEngine):
    """Speaks text at a person's pace, and remembers nothing of what it was asked."""

    def __init__(self, slots: int, tick_ms: float) -> None:
        super().__init__(slots, tick_ms / 1000, tick_ms_at_start=max(tick_ms, 0.1))
        self.calls = deque(maxlen=1)

    def _step(self, slot, frame):
        step = super()._step(slot, frame)
        word, rest = divmod(self.steps[slot], FRAMES_A_WORD)
        return dataclasses.replace(step, piece="" if rest else WORDS[word % len(WORDS)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--site", default="")
    parser.add_argument("--name", default="")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--tick-ms", type=float, default=0.0)
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    options = WorkerOptions(
        secret=os.environ["WORKER_SECRET"],
        port=given.port,
        name=given.name,
        site=given.site,
        heartbeat_seconds=2.0,
        force=True,
    )
    thread = ModelThread(lambda: LoadEngine(given.slots, given.tick_ms), batches=False)
    return event_loop.run(serve(WorkerServer(thread, options)))


async def serve(server: WorkerServer) -> int:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.drain)
    loop.add_signal_handler(signal.SIGINT, server.stop)
    return await server.run()


if __name__ == "__main__":
    raise SystemExit(main())
