"""Periodic work: Celery's clock calls one method of a model. CELERY_BEAT_SCHEDULE
says how often."""

import logging

from celery import shared_task

from conversations.models import Conversation
from inference.models import HardwareSample
from personaplex_site.audit import expire_looks
from personaplex_site.models import SignIn
from personaplex_site.sessions import SessionStore

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


@shared_task
def expire_sign_ins() -> None:
    SignIn.objects.expire()


@shared_task
def expire_web_sessions() -> None:
    """Delete those whose cookie has expired: Django only stops believing them."""
    SessionStore.clear_expired()
