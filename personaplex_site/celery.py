"""Celery's wiring: slow work that is no conversation."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from celery.signals import (
    beat_init,
    celeryd_init,
    setup_logging,
    worker_init,
    worker_ready,
)
from django.conf import settings

from personaplex_site import databases, exit_if_wrong

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")

# Eight lines at each loss of the broker. Our tasks may run twice.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
if "celery" in Path(sys.argv[0]).parts:  # python -m celery: its own command line
    exit_if_wrong.read_settings()
app = Celery("personaplex_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
@beat_init.connect
def check_settings(**kwargs: Any) -> None:
    exit_if_wrong.run_checks()


@setup_logging.connect
def keep_the_logging_of_settings(**kwargs: Any) -> None:
    """Django has configured logging already; Celery shall not replace it."""


@worker_init.connect
@beat_init.connect
def bound_connections(**kwargs: Any) -> None:
    """In the parent of the processes that do the work: each makes its own pool."""
    databases.use_pool(settings.DB_POOL_CELERY)


@worker_ready.connect
def recover_lost_work(**kwargs: Any) -> None:
    """A worker that starts may follow one that was killed: look once its leases
    have run out. Beat looks every few seconds too, where it runs."""
    from personas.models.upload import LEASE
    from personas.tasks import recover_uploads

    recover_uploads.apply_async(countdown=LEASE.total_seconds() + 1)
