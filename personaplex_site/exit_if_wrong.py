"""Wrong settings end a process with their sentences rather than with a traceback.

For the commands of docs/operations.md, which run without ``scripts/up``: exit status
and sentences are the same. It must not depend on any one setting.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable

import django
from django.core.checks import CheckMessage, Tags
from django.core.checks.registry import registry
from django.core.exceptions import ImproperlyConfigured

WRONG_SETTINGS = 2  # exit status


def read_settings() -> None:
    """Import the settings; exits with 2 and what is wrong with them."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
    try:
        importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except ImproperlyConfigured as error:
        _refuse([str(error)])


def prepare() -> None:
    """Settings read, Django set up, our checks run: for servers, before all else."""
    read_settings()
    django.setup()
    run_checks()


def run_checks() -> None:
    """The site's checks that need no server, once Django is set up; exits likewise."""
    if problems := sentences(our_messages()):
        _refuse(problems)


def our_messages() -> list[CheckMessage]:
    """Of personaplex_site.checks alone: Django's own import every view, which takes a
    second, and a killed web process has to be back soon."""
    known = registry.get_checks(include_deployment_checks=False)
    ours = [check for check in known if check.__module__ == "personaplex_site.checks"]
    local = [check for check in ours if Tags.database not in check.tags]
    return [
        found for check in local for found in check(app_configs=None, databases=None)
    ]


def sentences(messages: Iterable[CheckMessage]) -> list[str]:
    serious = [found for found in messages if found.is_serious()]
    return [f"{found.msg} {found.hint or ''}".strip() for found in serious]


def _refuse(problems: list[str]) -> None:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    raise SystemExit(WRONG_SETTINGS)
