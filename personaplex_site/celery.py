"""Celery's wiring: slow work that is no conversation."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")

app = Celery("personaplex_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
