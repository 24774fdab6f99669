"""Who may see other users' objects, and the audit record that they did.

The rule is the admin's: staff with the permission to view or to change objects of a
kind. Each look is recorded as a ``LogEntry`` of the admin. It must not depend on the
models: all objects that are shown have an ``owner_id``.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_permission_codename, get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.utils import timezone

log = logging.getLogger(__name__)

LOOK = 4  # an action flag beside Django's addition, change and deletion
# One record of each person, object and kind of look in this time: a page asks for its
# data and its recordings, and a player for every part of one.
ONCE_IN = timedelta(hours=1)
MAX_REPR = 200  # characters, as the column


def may_view_all(user: Any, model: type[models.Model]) -> bool:
    """Whom the admin shows them: who may change them may see them, too."""
    options = model._meta
    return bool(getattr(user, "is_staff", False)) and any(
        user.has_perm(f"{options.app_label}.{get_permission_codename(right, options)}")
        for right in ("view", "change")
    )


def record_look(user: Any, shown: Any, what: str) -> None:
    """To be called before ``shown`` is shown; looks of its owner are not recorded.
    ``what`` says in words what the person did. If the record can't be written, the
    error ends the request, so nothing is seen without one."""
    if shown.owner_id == user.pk:
        return
    looks = LogEntry.objects.filter(
        user=user.pk,
        content_type=ContentType.objects.get_for_model(shown),
        object_id=str(shown.pk),
        action_flag=LOOK,
        change_message=what,
    )
    if _lately(looks).exists():
        return
    with transaction.atomic():
        # The requests of one page come together; the first of them records the look.
        get_user_model().objects.select_for_update(no_key=True).get(pk=user.pk)
        if _lately(looks).exists():
            return
        LogEntry.objects.create(
            user_id=user.pk,
            content_type=ContentType.objects.get_for_model(shown),
            object_id=str(shown.pk),
            object_repr=f"{shown.owner}: {shown}"[:MAX_REPR],
            action_flag=LOOK,
            change_message=what,
        )
    kind = shown._meta.verbose_name
    log.info("%s: %s %s of %s: %s", user, kind, shown.pk, shown.owner, what)


def _lately(looks: models.QuerySet[LogEntry]) -> models.QuerySet[LogEntry]:
    return looks.filter(action_time__gt=timezone.now() - ONCE_IN)


def expire_looks() -> int:
    """How many records were older than AUDIT_DAYS."""
    before = timezone.now() - timedelta(days=settings.AUDIT_DAYS)
    return LogEntry.objects.filter(action_flag=LOOK, action_time__lt=before).delete()[0]
