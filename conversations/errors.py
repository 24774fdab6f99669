"""Everything that the app refuses, and the reasons for which a conversation ends.

Texts are shown to users.
"""

from __future__ import annotations

from django.db import models

from inference.errors import PersonaplexError


class EndReason(models.TextChoices):
    """Why a conversation ended: a closed list, each with a test that makes it."""

    USER_ENDED = "user_ended", "You ended the conversation"
    USER_LEFT = "user_left", "The page was closed"
    NETWORK_LOST = "network_lost", "The connection to the browser was lost"
    INACTIVITY = "inactivity", "No sound came from the browser for a while"
    MAX_DURATION = "max_duration", "The longest duration was reached"
    WORKER_LOST = "worker_lost", "The voice engine went away"
    MODEL_ERROR = "model_error", "The voice engine failed"
    WEB_LOST = "web_lost", "The web server stopped unexpectedly"
    SHUTDOWN = "shutdown", "The service was shut down"
    PROTOCOL = "protocol", "The browser sent something invalid"
    SIGNED_OUT = "signed_out", "You signed out"
    PASSWORD_CHANGED = "password_changed", "The password was changed elsewhere"
    ACCOUNT_CLOSED = "account_closed", "The account was closed"
    CONTEXT_FULL = "context_full", "The memory of the model was full"
    SITE_ERROR = "site_error", "The site failed"


class TooManyConversations(PersonaplexError):
    code = "too_many"
    text = "You already have as many conversations open as you may. End one of them."
    retryable = True


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
