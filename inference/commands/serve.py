"""Serve conversations on one accelerator, or on the CPU.

Listens on one port: WebSockets /session and /voices and GET /stats for the site, which
shows WORKER_SECRET; GET /presets and /presets/NAME, the voices that the model brings
along, for the same; GET /healthz and /readyz for whoever supervises. Every option may
come from the environment variable named beside it. The secret comes from WORKER_SECRET
only, because other users of the machine can read command lines.

Ends with 0 after SIGTERM or Ctrl-C (within ten seconds; running sessions are told),
1 when the model cannot be loaded or the engine breaks, 2 for wrong options, 70 when the
model hangs. Supervise it, and start it again.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

from inference.commands._options import (
    add_model_options,
    add_option,
    one_of,
    seconds,
    truth,
    whole,
)
from inference.engine.schedule import QUEUE_FRAMES

log = logging.getLogger(__name__)

STOP_SECONDS = 9  # then the process ends whatever still runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    add_option(parser, "--host", "WORKER_HOST", "127.0.0.1", "address to listen on")
    add_option(
        parser,
        "--port",
        "WORKER_PORT",
        "8765",
        "port to listen on; 0: any free one",
        whole(0, 65535),
    )
    add_option(
        parser,
        "--slots",
        "WORKER_SLOTS",
        "0",
        "conversations at once; 0: on a CPU as many as keep real time, else 4",
        whole(0, 256),
    )
    add_option(
        parser,
        "--weights",
        "WORKER_WEIGHTS",
        "",
        "on a GPU, serve by the fast engine with weights in bf16, int8, fp8 or int4",
        one_of("", "bf16", "int8", "fp8", "int4"),
    )
    add_option(
        parser,
        "--kv",
        "WORKER_KV",
        "bf16",
        "with --weights: how conversations are remembered, bf16 or int8",
        one_of("bf16", "int8"),
    )
    add_option(
        parser,
        "--queue-frames",
        "QUEUE_FRAMES",
        str(QUEUE_FRAMES),
        "frames of 80 ms that may wait per session; then the oldest is dropped",
        whole(1, 250),
    )
    add_option(
        parser,
        "--voice-cache-mb",
        "VOICE_CACHE_MB",
        "256",
        "memory for voice prompts of earlier sessions",
        whole(0, 65536),
    )
    add_option(
        parser,
        "--prompt-cache-mb",
        "PROMPT_CACHE_MB",
        "512",
        "memory, on the model's device, for personas that begin without being read "
        "again: 0.5 MB for each of their frames with personaplex-7b, 0.02 with tiny",
        whole(0, 65536),
    )
    add_option(
        parser,
        "--pin-prompt",
        "PIN_PROMPT",
        "False",
        "True: when a conversation outgrows the context, its persona stays in view",
        truth,
    )
    add_option(parser, "--site", "SITE_URL", "", "whom to tell how it goes: http://…")
    add_option(
        parser,
        "--heartbeat-seconds",
        "HEARTBEAT_SECONDS",
        "5",
        "how often to tell",
        seconds,
    )
    add_option(
        parser,
        "--name",
        "WORKER_NAME",
        "",
        "how the site calls it; else this machine's name:PORT",
    )
    add_option(
        parser,
        "--public-url",
        "WORKER_PUBLIC_URL",
        "",
        "where the site reaches it; else ws://HOST:PORT, 127.0.0.1 for 0.0.0.0",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="serve even if the model does not keep real time here",
    )


def run(arguments: argparse.Namespace) -> int:
    secret = os.environ.get("WORKER_SECRET", "")
    if not secret:
        sys.stderr.write("Set WORKER_SECRET to the same secret as the site has.\n")
        return 2
    from inference.checkpoints import model_folder
    from inference.commands._engine import engine_loader
    from inference.engine.model_thread import ModelThread
    from inference.worker.options import WorkerOptions
    from inference.worker.server import WorkerServer

    thread = ModelThread(engine_loader(arguments), queue_frames=arguments.queue_frames)
    options = WorkerOptions(
        secret=secret,
        host=arguments.host,
        port=arguments.port,
        name=arguments.name,
        public_url=arguments.public_url,
        site=arguments.site,
        heartbeat_seconds=arguments.heartbeat_seconds,
        voice_cache_mb=arguments.voice_cache_mb,
        force=arguments.force,
        model=model_folder(arguments.model, arguments.models_dir),
    )

    async def serve() -> int:
        server = WorkerServer(thread, options)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            server.stop()
            loop.call_later(STOP_SECONDS, os._exit, 1)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        return await server.run()

    try:
        return asyncio.run(serve())
    except OSError as error:
        log.error("Can't listen on %s:%d: %s", options.host, options.port, error)
        return 1
