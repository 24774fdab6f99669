"""The site's address for workers. They show the shared secret, not a cookie."""

from __future__ import annotations

import logging

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from inference.errors import ProtocolError
from inference.models import Worker
from inference.worker.bearer import shows_secret
from inference.worker.heartbeat import MAX_HEARTBEAT, parse_heartbeat

log = logging.getLogger(__name__)


@csrf_exempt
@require_POST
def worker_heartbeat(request: HttpRequest) -> HttpResponse:
    header = request.headers.get("Authorization", "")
    if not shows_secret(header, settings.WORKER_SECRET):
        log.warning("A heartbeat with a wrong WORKER_SECRET was refused")
        return JsonResponse({"error": "WORKER_SECRET is not the site's"}, status=401)
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_HEARTBEAT:
        return JsonResponse({"error": f"at most {MAX_HEARTBEAT} bytes"}, status=413)
    try:
        beat = parse_heartbeat(request.body)
    except ProtocolError as error:
        return JsonResponse({"error": str(error)}, status=400)
    Worker.beat(beat)
    return HttpResponse(status=204)
