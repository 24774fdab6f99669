"""``python -m personaplex_site.up``: the command line of the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

from personaplex_site.up.console import Console
from personaplex_site.up.errors import CannotStart
from personaplex_site.up.folder import DataFolder
from personaplex_site.up.launch import Launch
from personaplex_site.up.options import parser
from personaplex_site.up.preflight import problems_of
from personaplex_site.up.product import (
    Options,
    check_model,
    check_port,
    site_environment,
)

SAME_SIGNAL_SECONDS = 0.5
WRONG_SETTINGS = 2  # exit status, as of a wrong option


def main() -> int:
    options = _options()
    folder = DataFolder(options.data)
    try:
        if options.model:
            check_model(options.model)
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
    given = parser().parse_args()
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
