"""Who holds a conversation, and the tokens by which a browser comes back to it.

A conversation has one holder at a time: the LiveConversation, in some web process, that
writes its row and its frame log. Whoever shows the newest resume token takes it over;
the holder before finds out with its next write, writes nothing more and lets go.
"""

from __future__ import annotations

import hashlib
import secrets

from inference.errors import PersonaplexError


class ConversationGone(Exception):
    """The row was deleted, or ended by someone else."""


class Superseded(Exception):
    """Another holder has the conversation now; nothing of it is ours to change."""


class ResumeImpossible(PersonaplexError):
    code = "resume_impossible"
    text = (
        "This conversation can't be taken up again: it has ended, or it was too long "
        "ago. What was said is kept. Please start a new one."
    )


def new_token() -> str:
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What the database keeps of a token: it can't be used by who reads it there."""
    return hashlib.sha256(token.encode()).hexdigest()
