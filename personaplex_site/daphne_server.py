"""Daphne on uvloop; takes the arguments of ``daphne``.

    python -m personaplex_site.daphne_server -p 8000 personaplex_site.asgi:application

Twisted runs on the event loop that asyncio makes when Daphne is imported: so which one
has to be said before.
"""

import asyncio

import uvloop


def main() -> None:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    from daphne.cli import CommandLineInterface

    CommandLineInterface.entrypoint()


if __name__ == "__main__":
    main()
