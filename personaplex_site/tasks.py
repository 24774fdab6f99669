"""Periodic work: Celery's clock calls one method of a model. CELERY_BEAT_SCHEDULE
says how often."""

import logging

from celery import shared_task

from conversations.models import Conversation
from inference.models import HardwareSample
from personaplex_site.audit import expire_looks

log = logging.getLogger(__name__)


@shared_task
def end_abandoned_conversations() -> None:
    """Give conversations whose web process died their end reason."""
    if ended := Conversation.objects.end_abandoned():
        log.warning("%s abandoned conversations ended", ended)


@shared_task
def expire_audit_records() -> None:
    if expired := expire_looks():
        log.info("%d audit records of looks were too old and are deleted", expired)


@shared_task
def expire_hardware_samples() -> None:
    HardwareSample.objects.expire()
