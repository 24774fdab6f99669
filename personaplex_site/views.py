"""Pages of the site itself."""

import logging
import sys

from django.contrib.auth.decorators import login_not_required
from django.db.utils import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.defaults import server_error

from personaplex_site.front import health
from personaplex_site.front.answers import Refusal

log = logging.getLogger(__name__)


@login_not_required
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """The web process answers at this address before a page process is asked. This is
    for Django served without one."""
    found = health.look()
    return JsonResponse(found, status=200 if health.works(found) else 503)


def failed(request: HttpRequest) -> HttpResponse:
    """503 while the database does not answer or has no connection left for us, which
    passes; 500 for our own mistakes."""
    if not isinstance(sys.exc_info()[1], (OperationalError, InterfaceError)):
        return server_error(request)
    refusal = Refusal.unavailable()
    kind, content = refusal.content(request.headers.get("Accept", "").encode())
    response = HttpResponse(content, kind.decode(), status=refusal.status)
    response["Retry-After"] = str(refusal.retry_after_s)
    return response
