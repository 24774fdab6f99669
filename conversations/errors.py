"""Everything that the app refuses, and the reasons for which a conversation ends.

Texts are shown to users.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from inference.errors import PersonaplexError


class EndReason(models.TextChoices):
    """Why a conversation ended: a closed list, each with a test that makes it.

    The labels are for administrators, ``text`` for the user who had the conversation.
    """

    USER_ENDED = "user_ended", "The user ended the conversation"
    ENDED_ELSEWHERE = "ended_elsewhere", "The user ended it from another page"
    USER_LEFT = "user_left", "The page was closed"
    NETWORK_LOST = "network_lost", "The connection to the browser was lost"
    INACTIVITY = "inactivity", "No sound came from the browser for a while"
    MAX_DURATION = "max_duration", "The longest duration was reached"
    WORKER_LOST = "worker_lost", "The voice engine went away"
    MODEL_ERROR = "model_error", "The voice engine failed"
    WEB_LOST = "web_lost", "The web server stopped unexpectedly"
    SHUTDOWN = "shutdown", "The service was shut down"
    PROTOCOL = "protocol", "The browser sent something invalid"
    SIGNED_OUT = "signed_out", "The user signed out"
    PASSWORD_CHANGED = "password_changed", "The password was changed elsewhere"
    ACCOUNT_CLOSED = "account_closed", "The account was closed"
    CONTEXT_FULL = "context_full", "The memory of the model was full"
    SITE_ERROR = "site_error", "The site failed"

    @property
    def text(self) -> str:
        return self.label.replace("The user", "You")


class TooManyConversations(PersonaplexError):
    code = "too_many"
    retryable = True

    def __init__(self, detail: str = "") -> None:
        most = settings.CONVERSATIONS_PER_USER
        here = "one conversation" if most == 1 else f"{most} conversations"
        super().__init__(
            detail,
            text=f"You may have {here} open at a time, and have that already. End one "
            "where it is open, or on its page under Conversations.",
        )


class ResumeImpossible(PersonaplexError):
    code = "resume_impossible"
    text = (
        "This conversation can't be resumed: it has ended, or it was too long "
        "ago. What was said is kept. Please start a new one."
    )


class ConversationGone(Exception):
    """The row was deleted, or ended by another process."""


class Superseded(Exception):
    """Another process has taken the lease of the conversation; write nothing more."""
