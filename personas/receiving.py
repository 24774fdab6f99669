"""A file that arrived with a form, kept and given to Celery. It needs no request."""

from __future__ import annotations

import logging
import uuid

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from kombu.exceptions import OperationalError

from personas.channels import AUTO
from personas.models import Persona
from personas.models.upload import VoiceUpload
from personas.tasks import prepare_voice

log = logging.getLogger(__name__)


def receive_voice(
    persona: Persona,
    file: UploadedFile,
    channel: str = AUTO,
    key: uuid.UUID | None = None,
) -> VoiceUpload:
    """Keep the file and enqueue its preparation."""
    upload = VoiceUpload.receive(persona, file, channel, key)
    transaction.on_commit(lambda: _enqueue(upload))
    return upload


def _enqueue(upload: VoiceUpload) -> None:
    """Without a broker the row waits, and recover_uploads enqueues it later."""
    try:
        prepare_voice.delay(str(upload.pk))
    except OperationalError:
        log.exception("upload %s not enqueued", upload.pk)
