"""Who talks in a load test: accounts, personas and signed-in sessions.

Creates the rows in the database and deletes them afterwards. Blocking.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError

from conversations.models import Conversation
from personas.models import Persona, PersonaVersion

REMOVE_ATTEMPTS = 10
ROLE_PROMPT = "You enjoy having a good conversation."


@dataclass(frozen=True)
class Seat:
    """One browser."""

    persona: str
    cookie: str  # of the signed-in session, as the header has it


class Cast:
    """An account for each conversation: in the line a person has one place only."""

    def __init__(self, conversations: int, role_prompt: str = ROLE_PROMPT) -> None:
        self._name = f"load-test-{secrets.token_hex(4)}"
        self._sessions: list[str] = []
        self.seats: list[Seat] = []
        for number in range(conversations):
            user = get_user_model().objects.create_user(f"{self._name}-{number}")
            persona = Persona.begin(user, "Load test", role_prompt)
            self.seats.append(Seat(str(persona.pk), self._sign_in(user)))

    def _sign_in(self, user: AbstractBaseUser) -> str:
        session = import_module(settings.SESSION_ENGINE).SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        self._sessions.append(session.session_key)
        return f"{settings.SESSION_COOKIE_NAME}={session.session_key}"

    def remove(self) -> int:
        """Everything it made, its conversations too; how many these were."""
        for _ in range(REMOVE_ATTEMPTS):
            with suppress(IntegrityError):  # a conversation was just being analysed
                return self._remove()
            time.sleep(1)
        return self._remove()

    def _remove(self) -> int:
        users = get_user_model().objects.filter(username__startswith=self._name + "-")
        talks = Conversation.objects.filter(owner__in=users)
        count = talks.count()
        talks.delete()
        PersonaVersion.objects.filter(persona__owner__in=users).delete()
        users.delete()
        store = import_module(settings.SESSION_ENGINE).SessionStore
        for key in self._sessions:
            store(key).delete()
        return count
