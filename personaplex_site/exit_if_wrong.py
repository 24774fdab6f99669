"""Wrong settings end a process with their sentences rather than with a traceback.

For the commands of docs/operations.md, which run without ``scripts/up``. Knows no
setting.
"""

from __future__ import annotations

import importlib
import os
import sys

from django.core.exceptions import ImproperlyConfigured

WRONG_SETTINGS = 2  # exit status


def read_settings() -> None:
    """Import the settings; exits with 2 and what is wrong with them."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
    try:
        importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except ImproperlyConfigured as error:
        refuse([str(error)])


def run_checks() -> None:
    """The site's checks that need no server, once Django is set up; exits likewise."""
    from django.core.checks import run_checks

    messages = [message for message in run_checks() if message.is_serious()]
    if messages:
        refuse([f"{message.msg} {message.hint or ''}".strip() for message in messages])


def refuse(problems: list[str]) -> None:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    raise SystemExit(WRONG_SETTINGS)
