"""Daphne on uvloop; takes the arguments of ``daphne``.

    python -m personaplex_site.daphne_server -p 8000 personaplex_site.asgi:application

Twisted runs on the event loop that asyncio makes when Daphne is imported: so which one
has to be said before.
"""

import asyncio

import django
import uvloop

from personaplex_site import databases
from personaplex_site.exit_if_wrong import read_settings, run_checks

CLOSE_SECONDS = 4  # that a browser has to answer a close frame


def main() -> None:
    read_settings()
    databases.use_pool(databases.of_web_process())
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    from daphne.cli import CommandLineInterface

    wait_for_closing_browsers()
    django.setup()
    run_checks()
    CommandLineInterface.entrypoint()


def wait_for_closing_browsers() -> None:
    """Autobahn gives a browser one second to answer a close frame, then drops the
    connection with all that was not yet sent. Where a hundred conversations end at
    once, the loop is late by more: a browser lost the word that its conversation had
    ended, and took it for a broken connection."""
    from daphne import server

    class Patient(server.WebSocketFactory):
        def resetProtocolOptions(self) -> None:
            super().resetProtocolOptions()
            self.closeHandshakeTimeout = CLOSE_SECONDS

    server.WebSocketFactory = Patient


if __name__ == "__main__":
    main()
