"""Which conversations there are: of one user, live, parked, abandoned."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models
from django.utils import timezone

from conversations.errors import TooManyConversations
from personaplex_site.audit import may_view_all

if TYPE_CHECKING:
    from conversations.models import Conversation

# A live conversation is touched at least every 3 s.
SILENT = timedelta(seconds=10)


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def of(self, user: AbstractBaseUser | AnonymousUser) -> ConversationQuerySet:
        return self.filter(owner=user.pk)

    def visible_to(
        self, user: AbstractBaseUser | AnonymousUser
    ) -> ConversationQuerySet:
        """Their own, and those of all users for staff who may view conversations.
        What is shown of it goes through ``audit.record_look``."""
        return self if may_view_all(user, self.model) else self.of(user)

    def live(self) -> ConversationQuerySet:
        """Not parked, and with a recent heartbeat of its web process."""
        since = timezone.now() - SILENT
        return self.filter(ended_at=None, parked_at=None, alive_at__gte=since)

    def asked_to_end(self, keys: Iterable[UUID]) -> Iterable[UUID]:
        """Those of ``keys`` that their users want to end, see ``ask_to_end``."""
        asked = self.filter(pk__in=list(keys), ended_at=None, end_asked=True)
        return asked.values_list("pk", flat=True)

    def abandoned(self) -> ConversationQuerySet:
        """Not resumed in time, or its web process died."""
        now = timezone.now()
        parked_too_long = models.Q(
            parked_at__lt=now - timedelta(seconds=settings.RESUME_SECONDS)
        )
        untouched = models.Q(
            parked_at=None,
            alive_at__lt=now - timedelta(seconds=settings.WEB_LOST_SECONDS),
        )
        return self.filter(parked_too_long | untouched, ended_at=None)

    def make_room(self, user: AbstractBaseUser | AnonymousUser) -> list[Conversation]:
        """End the oldest of this user's that are not live, until there is room for
        one more; their slots are to be released. TooManyConversations when all that
        count against CONVERSATIONS_PER_USER are live."""
        open_ones = list(self.of(user).filter(ended_at=None).order_by("alive_at"))
        live = set(self.of(user).live().values_list("pk", flat=True))
        idle = [one for one in open_ones if one.pk not in live]
        surplus = max(0, len(open_ones) + 1 - settings.CONVERSATIONS_PER_USER)
        ended = [one for one in idle[:surplus] if one.give_up()]
        if len(ended) < surplus:  # or its browser has just come back to one
            raise TooManyConversations(f"{user} has no place left")
        return ended

    def end_abandoned(self) -> int:
        """Give what was left behind its end reason; how many there were."""
        return sum(conversation.give_up() for conversation in self.abandoned())
