"""What is said to an operator before the site starts: each with how to mend it.

``manage.py check`` runs those that need nothing but this machine;
``manage.py check --deploy`` also asks Redis and the fleet.
"""

from __future__ import annotations

import ctypes.util
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError
from redis.exceptions import RedisError

from personaplex_site import databases

MIN_SECRET = 32  # characters
OUR_PATHS = {  # the first parts of our own addresses
    *("account", "admin", "api", "conversations", "favicon.ico", "healthz", "personas"),
    *("sign-in", "sign-out", "static", "voices", "ws"),
}
HOST = re.compile(r"\*|\.?[^\s/:\[\]]+|\[[0-9a-fA-F:.%]+\]")


@register(Tags.compatibility)
def check_opus(**kwargs: Any) -> list[CheckMessage]:
    """opuslib wants the system's library, or the one in the wheel of PyAV."""
    if ctypes.util.find_library("opus") or _opus_of_av():
        return []
    hint = "Install it (Debian: apt-get install libopus0), or the package av again."
    return [Error("The Opus library is missing.", hint=hint, id="personaplex.E001")]


def _opus_of_av() -> bool:
    import av

    folder = Path(av.__file__).parent
    beside = folder.with_name("av.libs")
    return any(beside.glob("libopus*")) or any(folder.glob("**/libopus*"))


@register(Tags.security)
def check_secrets(**kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    hint = (
        "Set it to the output of: "
        "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    )
    return [
        Error(
            f"{name} is shorter than {MIN_SECRET} characters.",
            hint=hint,
            id="personaplex.E002",
        )
        for name in ("SECRET_KEY", "WORKER_SECRET")
        if len(getattr(settings, name)) < MIN_SECRET
    ]


@register(Tags.files)
def check_folders(**kwargs: Any) -> list[CheckMessage]:
    folders = {"DATA_DIR": settings.DATA_DIR, "MEDIA_ROOT": Path(settings.MEDIA_ROOT)}
    return [
        problem
        for name, folder in folders.items()
        for problem in check_folder(name, folder)
    ]


def check_folder(name: str, folder: Path) -> list[CheckMessage]:
    """``name``: of the variable that says where it is."""
    why = _unwritable(folder)
    if not why:
        return []
    text = f"{name} ({folder}) can't be written: {why}."
    hint = f"Create it for the user that runs the site, or set {name}."
    return [Error(text, hint=hint, id="personaplex.E003")]


def _unwritable(folder: Path) -> str:
    if folder.exists() and not folder.is_dir():
        return "it is a file, not a folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return os.strerror(error.errno or 0)


@register(Tags.compatibility)
def check_database_kind(**kwargs: Any) -> list[CheckMessage]:
    database = settings.DATABASES["default"]
    engine = database["ENGINE"]
    if engine != "django.db.backends.postgresql":
        text = f"The database is {engine}; only PostgreSQL works."
    elif not database.get("NAME"):
        text = "DATABASE_URL does not say which database."
    else:
        return []
    hint = "Set DATABASE_URL=postgres://user:password@host/name, or use scripts/up."
    return [Error(text, hint=hint, id="personaplex.E004")]


@register(Tags.compatibility)
def check_voice_limits(**kwargs: Any) -> list[CheckMessage]:
    least, used = settings.VOICE_MIN_SECONDS, settings.VOICE_USED_SECONDS
    if 1 <= least <= used <= settings.VOICE_MAX_SECONDS:
        return []
    text = "VOICE_MIN_SECONDS ≤ VOICE_USED_SECONDS ≤ VOICE_MAX_SECONDS does not hold."
    hint = f"They are {least}, {used} and {settings.VOICE_MAX_SECONDS}."
    return [Error(text, hint=hint, id="personaplex.E005")]


@register(Tags.security)
def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    """A name with scheme, port or path would never be the one of a request."""
    hint = "Write example.org, 192.0.2.1, [2001:db8::1], .example.org (all below it)."
    return [
        Error(
            f"ALLOWED_HOSTS has {name!r}: names without scheme, port and path only.",
            hint=hint,
            id="personaplex.E009",
        )
        for name in settings.ALLOWED_HOSTS
        if not HOST.fullmatch(name)
    ]


@register(Tags.compatibility)
def check_url_prefix(**kwargs: Any) -> list[CheckMessage]:
    """An address without the prefix, as a proxy may pass it, must not look like one
    that has it."""
    first = settings.URL_PREFIX[1:].partition("/")[0]
    if first not in OUR_PATHS:
        return []
    text = f"URL_PREFIX begins with /{first}, which is a path of the site itself."
    return [Error(text, hint="Choose another one.", id="personaplex.E010")]


@register(Tags.security)
def check_proxies(**kwargs: Any) -> list[CheckMessage]:
    if settings.TRUSTED_PROXIES or not settings.HTTPS:
        return []
    text = (
        "HTTPS is True, but TRUSTED_PROXIES is empty: no proxy is believed that a "
        "browser came by https, so every page would send it to itself."
    )
    hint = "Set it to the address of the proxy that ends TLS, such as 127.0.0.1."
    return [Error(text, hint=hint, id="personaplex.E008")]


@register(Tags.database)
def check_connections(**kwargs: Any) -> list[CheckMessage]:
    """All pools together must fit in what the database gives. Asked at the start,
    and with ``check --database default``; the database is left alone otherwise."""
    if not kwargs.get("databases"):
        return []
    wanted = databases.wanted()
    try:
        allowed = databases.allowed()
    except DatabaseError:
        return []  # its next user says what is wrong
    if sum(wanted.values()) <= allowed:
        return []
    each = ", ".join(f"{name} {count}" for name, count in wanted.items())
    text = (
        f"The processes of the site may take {sum(wanted.values())} connections to the "
        f"database ({each}), and it gives {allowed}."
    )
    hint = (
        "Raise max_connections in PostgreSQL, or lower DB_POOL_WEB, DB_POOL_PAGES, "
        "DB_POOL_CELERY or PAGE_PROCESSES."
    )
    return [Error(text, hint=hint, id="personaplex.E009")]


@register(Tags.caches, deploy=True)
def check_redis(**kwargs: Any) -> list[CheckMessage]:
    try:
        cache.get("check")
    except (RedisError, OSError) as error:
        hint = "Start Redis or Valkey there, or set REDIS_URL to where one runs."
        text = f"Redis does not answer: {error}"
        return [Error(text, hint=hint, id="personaplex.E006")]
    return []


@register(Tags.database, deploy=True)
def check_workers(**kwargs: Any) -> list[CheckMessage]:
    """A warning: workers may start after the site."""
    from inference.models import Worker

    try:
        if Worker.objects.open().exists():
            return []
    except DatabaseError as error:
        hint = "Run manage.py migrate, and see that DATABASE_URL is right."
        text = f"The table of workers can't be read: {error}"
        return [Error(text, hint=hint, id="personaplex.E007")]
    hint = "Start one: python -m inference serve. It needs WORKER_SECRET and SITE_URL."
    text = "No inference worker is alive, so no conversations are possible."
    return [Warning(text, hint=hint, id="personaplex.W001")]
