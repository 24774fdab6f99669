"""What workers ask of the site. They show the shared secret; there is no session."""

from __future__ import annotations

import hmac
import logging

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from inference.errors import ProtocolError
from inference.models import Worker
from inference.worker.beat import MAX_BEAT, parse_beat

log = logging.getLogger(__name__)


@csrf_exempt
@require_POST
def worker_heartbeat(request: HttpRequest) -> HttpResponse:
    if not _knows_secret(request):
        log.warning("A heartbeat with a wrong WORKER_SECRET was refused")
        return JsonResponse({"error": "WORKER_SECRET is not the site's"}, status=401)
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BEAT:
        return JsonResponse({"error": f"at most {MAX_BEAT} bytes"}, status=413)
    try:
        beat = parse_beat(request.body)
    except ProtocolError as error:
        return JsonResponse({"error": str(error)}, status=400)
    Worker.beat(beat)
    return HttpResponse(status=204)


def _knows_secret(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "")
    wanted = f"Bearer {settings.WORKER_SECRET}"
    return hmac.compare_digest(given.encode(), wanted.encode())
