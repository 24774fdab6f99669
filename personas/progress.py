"""What a page learns about a voice upload: typed payloads, and the way they travel.

A payload is ``{"type": "progress" | "ready" | "failed", …}``; the socket and the
polled view send the same.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, TypedDict

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.urls import reverse
from redis.exceptions import RedisError

from personas.models.upload import VoiceUpload

log = logging.getLogger(__name__)


class Progress(TypedDict):
    type: Literal["progress"]
    upload: str
    state: str
    text: str
    percent: int


class Ready(TypedDict):
    type: Literal["ready"]
    upload: str
    seconds: float
    sample_url: str
    warning: str


class Failed(TypedDict):
    type: Literal["failed"]
    upload: str
    code: str
    text: str


Payload = Progress | Ready | Failed


def payload(upload: VoiceUpload) -> Payload:
    key = str(upload.pk)
    if upload.state == VoiceUpload.State.FAILED:
        code, text = upload.error_code, upload.error_text
        return Failed(type="failed", upload=key, code=code, text=text)
    if upload.state == VoiceUpload.State.READY and upload.voice is not None:
        return Ready(
            type="ready",
            upload=key,
            seconds=round(upload.voice.seconds, 1),
            sample_url=reverse("voice_sample", args=[upload.voice.pk]),
            warning=upload.warning,
        )
    return Progress(
        type="progress",
        upload=key,
        state=upload.state,
        text=VoiceUpload.State(upload.state).label,
        percent=upload.percent,
    )


class Addresses(TypedDict):
    upload: str
    status_url: str
    socket_path: str


def addresses(upload: VoiceUpload) -> Addresses:
    """Where a page follows the upload."""
    return Addresses(
        upload=str(upload.pk),
        status_url=reverse("voice_upload_status", args=[upload.pk]),
        socket_path=f"{settings.URL_PREFIX}/ws/voices/{upload.pk}/",
    )


def group(upload_id: object) -> str:
    return f"voice_upload.{upload_id}"


def publish(upload: VoiceUpload) -> None:
    """Tell every open page. A page that misses it polls, so a lost message is only
    logged: the preparation continues without Redis."""
    message: dict[str, Any] = {"type": "upload.changed", "payload": payload(upload)}
    layer = get_channel_layer()
    assert layer is not None, "CHANNEL_LAYERS has no default"
    try:
        async_to_sync(layer.group_send)(group(upload.pk), message)
    except (RedisError, OSError) as error:
        log.warning("progress of upload %s not published: %s", upload.pk, error)
