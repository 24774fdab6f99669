"""Who sends a request, by its cookie's session: asked before a large body is taken.

A few threads query the database: beyond WAITING queries the next is refused.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from http.cookies import CookieError, SimpleCookie
from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.db import connections
from django.db.utils import Error as DatabaseProblem
from django.http import HttpRequest

from personaplex_site.front.answers import Refusal

THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="signed-in")
WAITING = 32
LONGEST_KEY = 40  # characters, as the database's column
_asking = 0


def session_key(cookies: bytes) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(cookies.decode("latin-1"))
    except CookieError:
        return ""
    found = jar.get(settings.SESSION_COOKIE_NAME)
    key = found.value if found else ""
    return key if key.isalnum() and len(key) <= LONGEST_KEY else ""


async def sender(cookies: bytes) -> str:
    """A name for the account, "" for an anonymous visitor."""
    global _asking
    if not (key := session_key(cookies)):
        return ""
    if _asking >= WAITING:
        raise Refusal.crowded()
    _asking += 1
    try:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(THREADS, _account, key)
    except DatabaseProblem as error:
        raise Refusal.unavailable() from error
    finally:
        _asking -= 1


def _account(key: str) -> str:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    try:
        user = get_user(request)
        return str(user.pk) if user.is_authenticated and user.is_active else ""
    finally:
        connections.close_all()
