"""Django's view of the fleet: the workers and what their hardware does."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> WorkerQuerySet:
        since = timezone.now() - timedelta(seconds=settings.WORKER_STALE_SECONDS)
        return self.filter(last_seen_at__gte=since)

    def open(self) -> WorkerQuerySet:
        """Workers worth asking for a slot, the emptiest first."""
        free = models.F("slots") - models.F("sessions")
        return self.alive().filter(ready=True).annotate(free=free).order_by("-free")


class Worker(models.Model):
    """One inference worker as its last heartbeat described it."""

    name = models.CharField(max_length=120, unique=True)
    url = models.CharField(max_length=200)  # ws://host:port
    model = models.CharField(max_length=120)
    fingerprint = models.CharField(max_length=64)
    trained = models.BooleanField(default=True)
    device = models.CharField(max_length=120)
    version = models.CharField(max_length=40, blank=True)
    ready = models.BooleanField(default=False)
    slots = models.PositiveIntegerField(default=0)
    sessions = models.PositiveIntegerField(default=0)
    context_frames = models.PositiveIntegerField(default=0)
    frames = models.BigIntegerField(default=0)
    late_frames = models.BigIntegerField(default=0)
    dropped_frames = models.BigIntegerField(default=0)
    tick_p50_ms = models.FloatField(default=0)
    tick_p99_ms = models.FloatField(default=0)
    started_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class HardwareSample(models.Model):
    """A worker's hardware at one moment. GPU fields are null without a GPU."""

    worker = models.ForeignKey(Worker, models.CASCADE, related_name="samples")
    at = models.DateTimeField(db_index=True)
    accelerator = models.CharField(max_length=120, blank=True)
    memory_used_mb = models.FloatField(null=True)
    memory_total_mb = models.FloatField(null=True)
    utilisation_percent = models.FloatField(null=True)
    temperature_c = models.FloatField(null=True)
    power_w = models.FloatField(null=True)
    cpu_percent = models.FloatField()
    ram_used_mb = models.FloatField()  # of the machine
    ram_total_mb = models.FloatField()
    process_ram_mb = models.FloatField()
    sessions = models.PositiveIntegerField()
    tick_p50_ms = models.FloatField()
    tick_p99_ms = models.FloatField()
    late_frames = models.BigIntegerField()

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.worker} at {self.at:%H:%M:%S}"
