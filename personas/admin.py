"""Personas, voices and uploads for operators."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline

from personas.models import Persona, PersonaVersion, Voice
from personas.uploads import VoiceUpload


class PersonaVersionInline(TabularInline):
    """What was talked with is never changed, so it is only shown."""

    model = PersonaVersion
    fields = ["number", "role_prompt", "voice", "created_at"]
    readonly_fields = fields
    ordering = ["-number"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Persona)
class PersonaAdmin(ModelAdmin):
    list_display = ["name", "owner", "created_at", "deleted_at"]
    list_filter = [("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["owner"]
    search_fields = ["name", "owner__username"]
    readonly_fields = ["id", "owner", "created_at"]
    inlines = [PersonaVersionInline]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # conversations outlive it: set deleted_at


@admin.register(Voice)
class VoiceAdmin(ModelAdmin):
    list_display = ["name", "owner", "seconds", "fingerprint", "created_at"]
    list_filter = ["fingerprint"]
    list_select_related = ["owner"]
    search_fields = ["name", "owner__username"]
    readonly_fields = [
        "id",
        "owner",
        "player",
        "seconds",
        "digest",
        "fingerprint",
        "created_at",
        "asked_again_at",
    ]
    fields = ["name", *readonly_fields]

    @admin.display(description="Sample")
    def player(self, voice: Voice) -> str:
        url = reverse("voice_sample", args=[voice.pk])
        return format_html('<audio controls preload="none" src="{}"></audio>', url)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # its files would stay


@admin.register(VoiceUpload)
class VoiceUploadAdmin(ModelAdmin):
    list_display = ["persona", "state", "percent", "error_code", "attempts", "size"]
    list_filter = ["state", "error_code"]
    list_select_related = ["persona"]
    search_fields = ["persona__name", "persona__owner__username"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # finished ones go by themselves, with their file
