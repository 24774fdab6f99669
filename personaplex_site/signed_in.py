"""Whether those who hold sockets are still signed in.

A socket asks once, when it is opened, and may stay open for half an hour. So all of a
process are looked at together, every SOCKET_CHECK_SECONDS, by two queries in a thread,
whatever their number: the session is still there and still of this user, who is still
active. A session in which its own user changed the password has a new key, and stays
signed in. The consumers close their sockets; this module must not depend on them.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.utils.crypto import constant_time_compare

from personaplex_site import sessions
from personaplex_site.watching import WatchList

log = logging.getLogger(__name__)


class Why(enum.Enum):
    """Why a user may no longer be there."""

    SIGNED_OUT = enum.auto()
    PASSWORD_CHANGED = enum.auto()  # in another browser, or by an administrator
    ACCOUNT_CLOSED = enum.auto()


SignOut = Callable[[Why], Awaitable[None]]


@dataclass(frozen=True, eq=False)
class Socket:
    user: object  # primary key
    password: str  # Django's digest of it, as it was when the socket was opened
    session: str  # its key; "" for a socket without cookies, which only tests have
    sign_out: SignOut


def watch(scope: Any, sign_out: SignOut) -> Socket:
    """From here on ``sign_out`` is awaited once when the user of this scope may no
    longer be there. The socket has to ``forget`` itself when it is closed."""
    key = getattr(scope.get("session"), "session_key", None) or ""
    user = scope["user"]
    socket = Socket(user.pk, user.get_session_auth_hash(), key, sign_out)
    _open.add(socket)
    return socket


def forget(socket: Socket) -> None:
    _open.discard(socket)


async def check() -> None:
    """Sign out whom it concerns, now."""
    asked = frozenset(_open)
    gone = await database_sync_to_async(signed_out)(asked)
    for socket in _open:
        if socket not in gone:
            continue
        forget(socket)
        try:
            await socket.sign_out(gone[socket])
        except Exception:  # a socket's border: the others must still be signed out
            log.exception("a socket was not closed")


_open: WatchList[Socket] = WatchList(
    check, lambda: settings.SOCKET_CHECK_SECONDS, "sign-ins were not checked"
)


def signed_out(sockets: Iterable[Socket]) -> dict[Socket, Why]:
    """Blocking. Those whose user may no longer be there, and why.

    Users and sessions are read one after the other, and a password may be changed in
    between: so those that seem to have gone are looked at twice.
    """
    gone = _look(frozenset(sockets))
    return _look(frozenset(gone)) if gone else gone


def _look(sockets: frozenset[Socket]) -> dict[Socket, Why]:
    if not sockets:
        return {}
    users = get_user_model().objects.filter(is_active=True)
    active = users.in_bulk({socket.user for socket in sockets})
    data = sessions.data_of({socket.session for socket in sockets})
    found = {
        socket: _why(socket, active.get(socket.user), data.get(socket.session, {}))
        for socket in sockets
    }
    return {socket: why for socket, why in found.items() if why is not None}


def _why(socket: Socket, user: Any, session: dict[str, Any]) -> Why | None:
    if user is None:
        return Why.ACCOUNT_CLOSED
    if not socket.session:
        return None
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    if session.get(SESSION_KEY) == str(user.pk):
        shown = session.get(HASH_SESSION_KEY, "")
        same = any(constant_time_compare(shown, known) for known in hashes)
        return None if same else Why.PASSWORD_CHANGED
    # The session of an old password goes with the next page that is asked for in it.
    other_password = socket.password not in hashes
    renewed = sessions.RENEWED_AS in session
    return Why.PASSWORD_CHANGED if other_password and not renewed else Why.SIGNED_OUT
