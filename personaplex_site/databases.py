"""How many database connections each kind of process may hold.

Sets the pools' sizes and adds them up over all processes. A pool is made where a server
process starts; commands of manage.py ask the database from one thread and need none.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connections

IDLE_SECONDS = 15.0  # after which an idle connection is closed
# The pool itself tries again ever more rarely, and lets no request try meanwhile.
RECONNECT_SECONDS = 2.0
CONNECT_SECONDS = 5
OWN_CONNECTIONS = 1  # of Celery's clock


def use_pool(most: int) -> None:
    """From now on this process has at most so many connections. Before the first."""
    database: dict[str, Any] = connections.settings["default"]
    options = database.setdefault("OPTIONS", {})
    options.setdefault("connect_timeout", CONNECT_SECONDS)
    options["pool"] = {
        "min_size": 0,
        "max_size": most,
        "timeout": float(settings.DB_POOL_SECONDS),
        "max_idle": IDLE_SECONDS,
        "reconnect_timeout": RECONNECT_SECONDS,
        "num_workers": 2,
    }


def of_web_process() -> int:
    """Without page processes the pages' threads ask from here, too."""
    return settings.DB_POOL_WEB + (0 if settings.PAGES_SOCKET else all_page_threads())


def all_page_threads() -> int:
    """Requests that may be in the hands of Django at once: pages, uploads, downloads
    and workers' heartbeats."""
    beside = settings.MAX_UPLOADS + settings.MAX_DOWNLOADS + MACHINE_PLACES
    return settings.PAGE_PARALLEL + beside


MACHINE_PLACES = 2  # heartbeats of workers at once


def wanted() -> dict[str, int]:
    """Kind of process → the most connections of all of its kind."""
    pages = settings.PAGE_PROCESSES * settings.DB_POOL_PAGES
    return {
        "web": settings.WEB_PROCESSES * of_web_process(),
        "pages": pages if settings.PAGES_SOCKET else 0,
        "Celery": (settings.CELERY_PROCESSES + 1) * settings.DB_POOL_CELERY,
        "beat": OWN_CONNECTIONS,
    }


def allowed() -> int:
    """Connections that the database gives to accounts that are no superuser's."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT sum(setting::int * CASE name WHEN 'max_connections' THEN 1 ELSE -1 "
            "END) FROM pg_settings WHERE name IN ('max_connections', "
            "'superuser_reserved_connections', 'reserved_connections')"
        )
        return int(cursor.fetchone()[0])
