"""Django's view of the fleet: the workers and what their hardware does."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from inference.worker.heartbeat import Hardware, Heartbeat


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> WorkerQuerySet:
        since = timezone.now() - timedelta(seconds=settings.WORKER_STALE_SECONDS)
        return self.filter(last_seen_at__gte=since)

    def open(self) -> WorkerQuerySet:
        """Workers that may have a free slot, the emptiest first."""
        free = models.F("slots") - models.F("sessions")
        return self.alive().filter(ready=True).annotate(free=free).order_by("-free")

    def forget(self, name: str) -> int:
        """A worker of this name is starting, on one GPU or several: its predecessor
        gets no more conversations."""
        ours = models.Q(name=name) | models.Q(name__startswith=f"{name}-gpu")
        return self.filter(ours).update(ready=False, draining=False, why_not="")

    def expected(self) -> bool:
        """Whether one may take a conversation soon, even if none does now: its last
        heartbeat is recent, and it neither drains nor is too slow for its model. It
        may just have died and be restarting."""
        return self.alive().filter(draining=False, why_not="").exists()

    def loading(self) -> bool:
        """Whether one is loading its model."""
        loading = self.alive().filter(ready=False, draining=False, why_not="")
        return loading.exists()

    def too_slow(self) -> str:
        """What a worker that is too slow for its model says; "" if there is none."""
        slow = self.alive().exclude(why_not="").values_list("why_not", flat=True)
        return slow.first() or ""


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
    # Of the sessions, those whose socket is lost and may come back.
    parked = models.PositiveIntegerField(default=0)
    draining = models.BooleanField(default=False)  # ends soon
    why_not = models.CharField(max_length=300, blank=True)  # ready, in words
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

    @property
    def alive(self) -> bool:
        age = timezone.now() - self.last_seen_at
        return age <= timedelta(seconds=settings.WORKER_STALE_SECONDS)

    @classmethod
    @transaction.atomic
    def beat(cls, beat: Heartbeat) -> Worker:
        """Store a heartbeat. A worker's row stays locked meanwhile, so that its
        heartbeats are stored one after the other."""
        now = timezone.now()
        fields = dataclasses.asdict(beat)
        for name in ("name", "hardware", "beat", "stopping"):
            del fields[name]
        fields["started_at"] = datetime.fromtimestamp(beat.started_at, UTC)
        # Its last heartbeat: from now on it counts as gone.
        gone = timedelta(seconds=settings.WORKER_STALE_SECONDS + 1)
        fields["last_seen_at"] = now - gone if beat.stopping else now
        # One statement: two first heartbeats at the same time must not fail.
        cls.objects.bulk_create(
            [cls(name=beat.name, **fields)],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=list(fields),
        )
        worker = cls.objects.select_for_update().get(name=beat.name)
        if beat.hardware is not None:
            worker.keep_sample(beat.hardware, now)
        return worker

    def keep_sample(self, hardware: Hardware, now: datetime) -> None:
        """At most one in HARDWARE_SAMPLE_SECONDS."""
        since = now - timedelta(seconds=settings.HARDWARE_SAMPLE_SECONDS)
        if self.samples.filter(at__gt=since).exists():
            return
        self.samples.create(
            at=now,
            sessions=self.sessions,
            tick_p50_ms=self.tick_p50_ms,
            tick_p99_ms=self.tick_p99_ms,
            late_frames=self.late_frames,
            **dataclasses.asdict(hardware),
        )


class HardwareSampleQuerySet(models.QuerySet["HardwareSample"]):
    def expire(self) -> int:
        """Delete samples older than HARDWARE_SAMPLE_DAYS; returns how many."""
        before = timezone.now() - timedelta(days=settings.HARDWARE_SAMPLE_DAYS)
        return self.filter(at__lt=before).delete()[0]


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

    objects = HardwareSampleQuerySet.as_manager()

    class Meta:
        ordering = ["-at"]
        indexes = [models.Index(fields=["worker", "-at"], name="samples_of_a_worker")]

    def __str__(self) -> str:
        return f"{self.worker} at {self.at:%H:%M:%S}"
