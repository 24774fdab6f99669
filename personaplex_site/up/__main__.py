"""``python -m personaplex_site.up``: the command line of the supervisor."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from personaplex_site.up.console import Console
from personaplex_site.up.errors import CannotStart
from personaplex_site.up.folder import DataFolder
from personaplex_site.up.launch import Launch
from personaplex_site.up.preflight import problems_of
from personaplex_site.up.product import (
    BASE_DIR,
    SERVERS,
    Options,
    check_port,
    site_environment,
)

SAME_SIGNAL_SECONDS = 0.5
WRONG_SETTINGS = 2  # exit status, as of a wrong option


def main() -> int:
    options = _options()
    folder = DataFolder(options.data)
    try:
        check_port(options.host, options.port)
        folder.open()
        problems = problems_of(site_environment(options, folder.secrets()))
    except CannotStart as error:
        print(f"Can't start: {error}", file=sys.stderr)
        folder.close()
        return error.status
    if problems:
        print("Can't start, nothing was started:", file=sys.stderr)
        print("".join(f"  {problem}\n" for problem in problems), file=sys.stderr)
        folder.close()
        return WRONG_SETTINGS
    console = Console(folder.logs)
    try:
        return asyncio.run(_run(Launch(options, folder, console)))
    finally:
        console.close()
        folder.close()


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="scripts/up",
        description="Start PersonaPlex: database, broker, inference worker and site.",
    )
    parser.add_argument("--port", type=int, default=8000, help="of the site (8000)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (127.0.0.1)"
    )
    parser.add_argument(
        "--server",
        choices=SERVERS,
        default=SERVERS[0],
        help=f"what serves pages and live sockets ({SERVERS[0]})",
    )
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL", ""),
        help="what talks: a folder with a model's files, or personaplex-7b, moshiko or "
        "moshika, which are downloaded first (tiny, which is built in)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("DATA_DIR") or BASE_DIR / "var"),
        help="folder for everything that is kept (var/ in the checkout)",
    )
    parser.add_argument(
        "--url-prefix",
        default=os.environ.get("URL_PREFIX", ""),
        help="path of another site below which a proxy shows this one: /personaplex",
    )
    given = parser.parse_args()
    if not 1 <= given.port <= 65535:
        parser.error("--port must be between 1 and 65535")
    return Options(
        data=given.data.resolve(),
        host=given.host,
        port=given.port,
        server=given.server,
        model=given.model,
        url_prefix=given.url_prefix,
    )


async def _run(launch: Launch) -> int:
    supervisor, console = launch.supervisor, launch.console
    stopping = _on_signals(launch)
    starting = asyncio.create_task(launch.run())
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait([starting, asked], return_when=asyncio.FIRST_COMPLETED)
    status = 0
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError, CannotStart):
            await starting
    elif (error := starting.exception()) is not None:
        status = 1
        if not isinstance(error, CannotStart):
            await supervisor.stop()
            raise error
        console.say(f"Can't start: {error}")
    else:
        await asked
    console.say("stopping")
    await supervisor.stop()
    asked.cancel()
    return status


def _on_signals(launch: Launch) -> asyncio.Event:
    """The first signal asks everything to stop, one more kills. Not one that comes
    with the first: some tools signal both the process and its group."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    first_at = 0.0

    def stop() -> None:
        nonlocal first_at
        if not stopping.is_set():
            first_at = loop.time()
            stopping.set()
        elif loop.time() - first_at > SAME_SIGNAL_SECONDS:
            launch.supervisor.kill()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    return stopping


if __name__ == "__main__":
    raise SystemExit(main())
