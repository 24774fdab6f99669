"""Serve conversations on one accelerator, or on the CPU.

Listens on one port. For the site, which shows WORKER_SECRET: WebSockets /session and
/voices, GET /stats, GET /presets and /presets/NAME (the model's own voices) and GET
/tokenizer. For a supervisor: GET /healthz and /readyz. Every option may come from the
environment variable named beside it. The secret comes from WORKER_SECRET only, because
other users of the machine can read command lines.

SIGTERM drains: new sessions are refused, the site moves running ones to other workers,
and the process ends when the last is gone, or after --drain-seconds, when the remaining
sessions are ended. A second SIGTERM, half a second later or more, or Ctrl-C, ends it
within ten seconds.

--gpus starts one such worker for each GPU, on port --port + the GPU's number, and
restarts each that dies. It passes signals on, and ends when all have ended.

Exit status: 0 after a signal, 1 when the model cannot be loaded or the engine breaks, 2
for wrong options, 70 when the model hangs, 71 when the GPU is lost. Run it under a
supervisor that restarts it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

from inference.commands import _gpus
from inference.commands._gpus import WrongGpus, gpu_choice
from inference.commands._options import (
    Option,
    add_group,
    add_model_options,
    add_pretend,
    one_of,
    seconds,
    truth,
    whole,
)
from inference.engine.schedule import MAX_TICK_MS, QUEUE_FRAMES
from inference.worker import event_loop
from inference.worker.fleet import SAME_SIGNAL_SECONDS, Fleet, WorkerCommand

log = logging.getLogger(__name__)

STOP_SECONDS = 9  # then the process ends whatever still runs
KILL_SECONDS = STOP_SECONDS + 3  # then a worker of --gpus is killed


ADDRESS = (
    Option(
        "--host",
        "WORKER_HOST",
        "127.0.0.1",
        "address to listen on",
    ),
    Option(
        "--port",
        "WORKER_PORT",
        "8765",
        "port to listen on; 0: any free one",
        whole(0, 65535),
    ),
    Option(
        "--name",
        "WORKER_NAME",
        "",
        "the worker's name on the site; else this machine's name:PORT",
    ),
    Option(
        "--public-url",
        "WORKER_PUBLIC_URL",
        "",
        "where the site reaches the worker; else ws://HOST:PORT, 127.0.0.1 for 0.0.0.0",
    ),
    Option(
        "--site",
        "SITE_URL",
        "",
        "the site that gets heartbeats: http://…",
    ),
    Option(
        "--heartbeat-seconds",
        "HEARTBEAT_SECONDS",
        "5",
        "seconds between heartbeats",
        seconds,
    ),
)

ENGINE = (
    Option(
        "--gpus",
        "WORKER_GPUS",
        "",
        "all, or numbers such as 0,1: one worker for each of these GPUs; auto: for all "
        "if there are several. Their names end in -gpu0, -gpu1, ...",
        gpu_choice,
    ),
    Option(
        "--slots",
        "WORKER_SLOTS",
        "0",
        "conversations at once; 0: on a CPU as many as keep real time, else 4",
        whole(0, 256),
    ),
    Option(
        "--weights",
        "WORKER_WEIGHTS",
        "",
        "number format of the language model: fp32, bf16 or, on a GPU only, int8, fp8 "
        "or int4; else fp32 on a CPU, and on a GPU the most exact that fits and keeps "
        "real time, KV included. On a GPU fp32 is very slow",
        one_of("", "fp32", "bf16", "int8", "fp8", "int4"),
    ),
    Option(
        "--kv",
        "WORKER_KV",
        "bf16",
        "number format of the conversations' KV cache, bf16 or, on a GPU only, int8",
        one_of("bf16", "int8"),
    ),
    Option(
        "--max-tick-ms",
        "MAX_TICK_MS",
        f"{MAX_TICK_MS:.0f}",
        "on a GPU, new conversations are refused while ticks take longer than this; "
        "real time is 80",
        whole(1, 80),
    ),
    Option(
        "--pin-prompt",
        "PIN_PROMPT",
        "False",
        "True: when a conversation outgrows the context, its persona stays in view",
        truth,
    ),
)

LIMITS = (
    Option(
        "--promised-seconds",
        "PROMISED_SECONDS",
        "0",
        "on a GPU, how many seconds of context are reserved for each conversation; a "
        "longer one takes more memory while there is some, and what is free decides "
        "how many may begin. 0: whole windows for all slots",
        whole(0, 240),
    ),
    Option(
        "--prompt-cache-mb",
        "PROMPT_CACHE_MB",
        "512",
        "memory, on the model's device, for persona prompts that were computed before: "
        "0.5 MB for each of their frames with personaplex-7b, 0.02 with tiny",
        whole(0, 65536),
    ),
    Option(
        "--voice-cache-mb",
        "VOICE_CACHE_MB",
        "256",
        "memory for voice prompts of earlier sessions",
        whole(0, 65536),
    ),
    Option(
        "--queue-frames",
        "QUEUE_FRAMES",
        str(QUEUE_FRAMES),
        "frames of 80 ms that may wait per session; then the oldest is dropped",
        whole(1, 250),
    ),
    Option(
        "--resume-seconds",
        "RESUME_SECONDS",
        "30",
        "how long a session whose connection to the site broke keeps its slot",
        whole(0, 3600),
    ),
    Option(
        "--drain-seconds",
        "DRAIN_SECONDS",
        "20",
        "after SIGTERM, how long running sessions have to be moved elsewhere",
        whole(0, 3600),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    add_group(parser, "address", ADDRESS)
    add_group(parser, "engine", ENGINE)
    add_group(parser, "limits", LIMITS)
    add_pretend(parser)
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
    try:
        commands = _gpus.worker_commands(arguments)
    except WrongGpus as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if commands:
        return _run_fleet(commands, arguments.drain_seconds)
    return _run_worker(arguments, secret)


def _run_fleet(commands: list[WorkerCommand], drain_seconds: int) -> int:
    async def run() -> int:
        return await Fleet(commands, drain_seconds + KILL_SECONDS, KILL_SECONDS).run()

    return asyncio.run(run())


def _run_worker(arguments: argparse.Namespace, secret: str) -> int:
    from inference.commands._engine import engine_loader
    from inference.engine.model_thread import ModelThread
    from inference.loading.checkpoint import model_folder
    from inference.worker.options import WorkerOptions
    from inference.worker.server import WorkerServer

    thread = ModelThread(
        engine_loader(arguments),
        queue_frames=arguments.queue_frames,
        max_tick_ms=arguments.max_tick_ms,
    )
    options = WorkerOptions(
        secret=secret,
        host=arguments.host,
        port=arguments.port,
        name=arguments.name,
        public_url=arguments.public_url,
        site=arguments.site,
        heartbeat_seconds=arguments.heartbeat_seconds,
        voice_cache_mb=arguments.voice_cache_mb,
        resume_seconds=arguments.resume_seconds,
        drain_seconds=arguments.drain_seconds,
        force=arguments.force,
        model=model_folder(arguments.model, arguments.models_dir),
    )

    async def serve() -> int:
        server = WorkerServer(thread, options)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            server.stop()
            loop.call_later(STOP_SECONDS, os._exit, 1)

        drained_at = 0.0

        def drain() -> None:
            nonlocal drained_at
            if not drained_at:
                drained_at = loop.time()
                server.drain()
                loop.call_later(options.drain_seconds + STOP_SECONDS, os._exit, 1)
            elif loop.time() - drained_at > SAME_SIGNAL_SECONDS:
                stop()

        loop.add_signal_handler(signal.SIGTERM, drain)
        loop.add_signal_handler(signal.SIGINT, stop)
        return await server.run()

    try:
        return event_loop.run(serve())
    except OSError as error:
        log.error("Can't listen on %s:%d: %s", options.host, options.port, error)
        return 1
