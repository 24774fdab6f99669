"""Whether the site works, for supervisors and load balancers."""

import logging

from django.contrib.auth.decorators import login_not_required
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from redis.exceptions import RedisError

from inference.models import Worker

log = logging.getLogger(__name__)


@login_not_required
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """200 when database and Redis answer, else 503. Says which, never why: the log
    has the cause. ``workers`` is how many could be given a conversation; none is no
    reason to take the site out of service."""
    parts = {"database": _database_answers(), "redis": _redis_answers()}
    workers = Worker.objects.open().count() if parts["database"] else 0
    status = 200 if all(parts.values()) else 503
    return JsonResponse({**parts, "workers": workers}, status=status)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        log.error("health: database: %s", error)
        return False
    return True


def _redis_answers() -> bool:
    try:
        cache.get("health")
    except (RedisError, OSError) as error:
        log.error("health: Redis: %s", error)
        return False
    return True
