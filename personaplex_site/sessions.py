"""Sessions in the database, of which an old key still says what became of it.

Django gives a session a new key when its own user changes the password. Sockets that
were opened with the old key (:mod:`personaplex_site.signed_in`) have to find it again,
so the old key's row stays for as long as a socket may live, with nothing in it but the
new key: it signs no one in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

RENEWED_AS = "renewed_as"


class SessionStore(DatabaseSession):
    @classmethod
    def get_model_class(cls) -> Any:
        return DatabaseSession.get_model_class()

    def cycle_key(self) -> None:
        before = self.session_key
        super().cycle_key()
        if before and SESSION_KEY in self:
            longest = settings.CONVERSATION_MAX_SECONDS + settings.QUEUE_SECONDS
            self.model.objects.create(
                session_key=before,
                session_data=self.encode({RENEWED_AS: self.session_key}),
                expire_date=timezone.now() + timedelta(seconds=longest),
            )


@contextmanager
def seen_at_once(request: HttpRequest) -> Iterator[None]:
    """A new password and the session that was renewed for it: a reader between
    the two would take the session for one of the old password."""
    with transaction.atomic():
        yield
        if request.session.modified:
            request.session.save()


def data_of(keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Blocking. What is in these sessions, or in those that they were renewed as."""
    found = _read(keys)
    renewed = {key: data[RENEWED_AS] for key, data in found.items() if _is_old(data)}
    if renewed:
        newer = data_of(renewed.values())
        for key, new in renewed.items():
            found[key] = {RENEWED_AS: new, **newer.get(new, {})}
    return found


def _read(keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    rows = SessionStore.get_model_class().objects.filter(
        session_key__in=set(keys), expire_date__gt=timezone.now()
    )
    return {row.session_key: row.get_decoded() for row in rows}


def _is_old(data: dict[str, Any]) -> bool:
    return RENEWED_AS in data and SESSION_KEY not in data
