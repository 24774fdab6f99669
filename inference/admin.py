"""The fleet for operators: what runs where, how well, and on what hardware."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from unfold.admin import ModelAdmin

from inference.charts import Point, line_chart
from inference.models import HardwareSample, Worker, WorkerQuerySet

CHART_SECONDS = 3600.0
CHARTS = {  # field of a sample: title, unit
    "tick_p99_ms": ("Tick, p99", "ms"),
    "sessions": ("Sessions", ""),
    "utilisation_percent": ("GPU utilisation", "%"),
    "memory_used_mb": ("GPU memory", "MB"),
    "cpu_percent": ("CPU of the machine", "%"),
    "process_ram_mb": ("RAM of the process", "MB"),
}


class ReadOnlyAdmin(ModelAdmin):
    """Workers write these rows themselves."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AliveFilter(admin.SimpleListFilter):
    title = "alive"
    parameter_name = "alive"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Worker]
    ) -> models.QuerySet[Worker]:
        assert isinstance(queryset, WorkerQuerySet)
        match self.value():
            case "yes":
                return queryset.alive()
            case "no":
                return queryset.exclude(pk__in=queryset.alive())
        return queryset


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = [
        "name",
        "is_alive",
        "ready",
        "ends_soon",
        "model",
        "device",
        "used_slots",
        "tick",
        "late",
        "last_seen_at",
    ]
    list_filter = [AliveFilter, "ready", "model"]
    search_fields = ["name", "url", "device"]
    fields = [
        "name",
        "is_alive",
        ("ready", "ends_soon"),
        "why_not",
        "url",
        ("model", "trained"),
        "fingerprint",
        ("device", "version"),
        ("used_slots", "tick", "late"),
        ("frames", "dropped_frames", "context_frames"),
        ("started_at", "last_seen_at"),
        "last_hour",
    ]
    readonly_fields = [
        "is_alive",
        "ends_soon",
        "used_slots",
        "tick",
        "late",
        "last_hour",
    ]

    @admin.display(description="Alive", boolean=True)
    def is_alive(self, worker: Worker) -> bool:
        return worker.alive

    @admin.display(description="Draining", ordering="draining")
    def ends_soon(self, worker: Worker) -> str:
        """Not as a boolean: its usual value, False, would be a red cross."""
        return "ends soon" if worker.draining else "no"

    @admin.display(description="Sessions")
    def used_slots(self, worker: Worker) -> str:
        parked = f", {worker.parked} parked" if worker.parked else ""
        return f"{worker.sessions} of {worker.slots}{parked}"

    @admin.display(description="Tick p50 / p99", ordering="tick_p99_ms")
    def tick(self, worker: Worker) -> str:
        return f"{worker.tick_p50_ms:.1f} / {worker.tick_p99_ms:.1f} ms"

    @admin.display(description="Late frames", ordering="late_frames")
    def late(self, worker: Worker) -> str:
        share = worker.late_frames / worker.frames if worker.frames else 0
        return f"{worker.late_frames} ({share:.2%})"

    @admin.display(description="Last hour")
    def last_hour(self, worker: Worker) -> str:
        now = timezone.now()
        since = now - timedelta(seconds=CHART_SECONDS)
        rows = list(worker.samples.filter(at__gte=since).values("at", *CHARTS))
        charts = []
        for field, (title, unit) in CHARTS.items():
            points: list[Point] = [
                ((now - row["at"]).total_seconds(), row[field])
                for row in rows
                if row[field] is not None
            ]
            charts.append(line_chart(title, unit, points, CHART_SECONDS))
        shown = {"charts": [chart for chart in charts if chart is not None]}
        if not shown["charts"]:
            return "No sample in the last hour."
        return render_to_string("inference/last_hour.html", shown)


@admin.register(HardwareSample)
class HardwareSampleAdmin(ReadOnlyAdmin):
    list_display = [
        "at",
        "worker",
        "accelerator",
        "memory",
        "utilisation_percent",
        "temperature_c",
        "power_w",
        "cpu_percent",
        "process_ram_mb",
        "sessions",
        "tick_p99_ms",
    ]
    list_filter = ["worker"]
    list_select_related = ["worker"]
    date_hierarchy = "at"

    @admin.display(description="GPU memory", ordering="memory_used_mb")
    def memory(self, sample: HardwareSample) -> str:
        if sample.memory_used_mb is None or sample.memory_total_mb is None:
            return ""
        return f"{sample.memory_used_mb:.0f} of {sample.memory_total_mb:.0f} MB"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # they expire by themselves
