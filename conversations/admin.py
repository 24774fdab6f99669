"""Conversations for operators: figures and end reasons, read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from conversations.models import Conversation
from personaplex_site.audit import may_view_all, record_look

SECRET = ("lease", "resume_hash", "resume_hash_before")


@admin.register(Conversation)
class ConversationAdmin(ModelAdmin):
    list_display = [
        "started_at",
        "owner",
        "persona",
        "model",
        "end_reason",
        "frames",
        "late_frames",
        "dropped_frames",
        "resumes",
        "moves",
        "path_p50_ms",
        "path_p99_ms",
        "review",
    ]
    list_filter = ["end_reason", "model", "worker_name", "started_at"]
    date_hierarchy = "started_at"
    search_fields = ["id", "owner__username", "persona_version__persona__name"]
    list_select_related = ["owner", "persona_version__persona"]
    list_per_page = 25  # 9 kB a row

    @admin.display(ordering="persona_version__persona__name")
    def persona(self, conversation: Conversation) -> str:
        return conversation.persona_version.persona.name

    @admin.display(description="review")
    def review(self, conversation: Conversation) -> str:
        return format_html('<a href="{}">open</a>', conversation.get_absolute_url())

    def has_view_permission(
        self, request: HttpRequest, obj: Conversation | None = None
    ) -> bool:
        return may_view_all(request.user, Conversation)

    def render_change_form(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if (shown := kwargs.get("obj")) is not None:
            record_look(request.user, shown, "Looked at it in the admin")
        return super().render_change_form(request, *args, **kwargs)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Conversation | None = None
    ) -> list[str]:
        fields = (field.name for field in Conversation._meta.fields)
        return [name for name in fields if name not in SECRET]

    def get_fields(
        self, request: HttpRequest, obj: Conversation | None = None
    ) -> list[str]:
        return self.get_readonly_fields(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Conversation | None = None
    ) -> bool:
        """Not while it is live: its owner would be cut off."""
        live = obj is not None and obj.is_live
        return not live and super().has_delete_permission(request, obj)

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[Conversation]
    ) -> None:
        queryset.filter(ended_at__isnull=False).delete()
