"""Whether those who hold sockets are still signed in.

A socket asks once, when it is opened, and may stay open for half an hour. So all of a
process are looked at together, every SOCKET_CHECK_SECONDS, by two queries in a thread,
whatever their number: the session is still there and still of this user, who is still
active. The consumers close their sockets; this module must not depend on them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.db.utils import Error as DatabaseProblem
from django.utils import timezone
from django.utils.crypto import constant_time_compare

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Socket:
    user: object  # primary key
    session: str  # its key; "" for a socket without cookies, which only tests have
    sign_out: Callable[[], Awaitable[None]]


_open: set[Socket] = set()
_checking: asyncio.Task[None] | None = None


def watch(scope: Any, sign_out: Callable[[], Awaitable[None]]) -> Socket:
    """From here on ``sign_out`` is awaited once when the user of this scope may no
    longer be there. The socket has to ``forget`` itself when it is closed."""
    global _checking
    key = getattr(scope.get("session"), "session_key", None) or ""
    socket = Socket(scope["user"].pk, key, sign_out)
    _open.add(socket)
    loop = asyncio.get_running_loop()
    if _checking is None or _checking.done() or _checking.get_loop() is not loop:
        _checking = loop.create_task(_check_now_and_then())
    return socket


def forget(socket: Socket) -> None:
    _open.discard(socket)


async def check() -> None:
    """Sign out whom it concerns, now."""
    asked = frozenset(_open)
    gone = await database_sync_to_async(signed_out)(asked)
    for socket in gone & _open:
        forget(socket)
        try:
            await socket.sign_out()
        except Exception:  # a socket's border: the others must still be signed out
            log.exception("a socket was not closed")


async def _check_now_and_then() -> None:
    while _open:
        await asyncio.sleep(settings.SOCKET_CHECK_SECONDS)
        try:
            await check()
        except DatabaseProblem as error:
            log.warning("sign-ins were not checked: %s", error)


def signed_out(sockets: Iterable[Socket]) -> frozenset[Socket]:
    """Blocking. Those whose user has signed out, was deactivated or deleted."""
    sockets = frozenset(sockets)
    if not sockets:
        return sockets
    users = get_user_model().objects.filter(is_active=True)
    active = users.in_bulk({socket.user for socket in sockets})
    rows = Session.objects.filter(
        session_key__in={socket.session for socket in sockets},
        expire_date__gt=timezone.now(),
    )
    data = {row.session_key: row.get_decoded() for row in rows}
    return frozenset(
        socket
        for socket in sockets
        if socket.user not in active
        or (socket.session and not _is_of(active[socket.user], data, socket.session))
    )


def _is_of(user: Any, data: dict[str, dict[str, Any]], key: str) -> bool:
    """Signed in with the password that is still theirs."""
    session = data.get(key, {})
    if session.get(SESSION_KEY) != str(user.pk):
        return False
    shown = session.get(HASH_SESSION_KEY, "")
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(shown, known) for known in hashes)
