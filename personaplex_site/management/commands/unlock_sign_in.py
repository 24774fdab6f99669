"""Lets a user sign in again at once after too many wrong passwords."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from personaplex_site.addresses import limited_network, parse
from personaplex_site.models import SignIn


class Command(BaseCommand):
    help = (
        "Forgets the wrong passwords of a user name, or those from an address, so that "
        "signing in works again at once. It works by itself later, too: after "
        "SIGN_IN_WINDOW_SECONDS at most."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("subject", nargs="?", metavar="NAME|ADDRESS")
        which.add_argument("--all", action="store_true", help="all of them")

    def handle(self, *args: Any, **options: Any) -> None:
        subject = options["subject"]
        if options["all"]:
            count = SignIn.objects.unlock()
        elif subject:
            count = SignIn.objects.unlock(name=subject)
            if parse(subject.partition("/")[0]) is not None:
                network = limited_network(subject.partition("/")[0])
                count += SignIn.objects.unlock(network=network)
        else:
            raise CommandError("Give a user name, an address or --all.")
        self.stdout.write(f"{count} failed attempts no longer count.")
