"""Personas, voices and uploads for operators."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline

from personaplex_site.stale_forms import StaleFormMixin
from personas.models import Persona, PersonaVersion, Voice
from personas.models.upload import VoiceUpload
from personas.names import NameField
from personas.voice_choices import default_voice


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


class NamedAdmin(StaleFormMixin, ModelAdmin):
    """Whose name an administrator may change, by the rules of the form of its owner."""

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "name":
            kwargs["form_class"] = NameField
        return super().formfield_for_dbfield(db_field, request, **kwargs)


@admin.register(Persona)
class PersonaAdmin(NamedAdmin):
    list_display = ["name", "owner", "created_at", "deleted_at"]
    list_filter = [("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["owner"]
    list_per_page = 50
    search_fields = ["name", "owner__username"]
    readonly_fields = ["id", "owner", "created_at"]
    inlines = [PersonaVersionInline]

    def save_model(
        self, request: HttpRequest, obj: Persona, form: Any, change: bool
    ) -> None:
        """An edit like those of its owner, whose page has to notice it."""
        obj.edits += 1
        super().save_model(request, obj, form, change)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # conversations outlive it: set deleted_at


@admin.register(Voice)
class VoiceAdmin(NamedAdmin):
    list_display = [
        "name",
        "owner",
        "preset",
        "seconds",
        "fingerprint",
        "created_at",
        "deleted_at",
    ]
    list_filter = [
        "fingerprint",
        ("owner", admin.EmptyFieldListFilter),
        ("deleted_at", admin.EmptyFieldListFilter),
    ]
    list_select_related = ["owner"]
    list_per_page = 25
    search_fields = ["name", "preset", "owner__username"]
    actions = ["erase"]
    readonly_fields = [
        "id",
        "owner",
        "preset",
        "player",
        "seconds",
        "digest",
        "fingerprint",
        "created_at",
        "asked_again_at",
        "deleted_at",
    ]
    fields = ["name", *readonly_fields]

    @admin.action(
        description="Delete the recordings for good, and what was made from them",
        permissions=["change"],
    )
    def erase(self, request: HttpRequest, queryset: QuerySet[Voice]) -> None:
        """For people who ask for it and have no account any more."""
        voices = queryset.filter(preset="", deleted_at=None)
        for voice in voices:
            voice.erase(default_voice())
        self.message_user(request, f"{len(voices)} recordings were deleted.")

    @admin.display(description="Sample")
    def player(self, voice: Voice) -> str:
        if voice.preset:
            return "None: it came with the model, as numbers."
        if voice.deleted_at:
            return "None: it was deleted."
        url = reverse("voice_sample", args=[voice.pk])
        return format_html('<audio controls preload="none" src="{}"></audio>', url)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # versions name it; the action deletes what it was made from


@admin.register(VoiceUpload)
class VoiceUploadAdmin(ModelAdmin):
    list_display = ["persona", "state", "percent", "error_code", "attempts", "size"]
    list_filter = ["state", "error_code"]
    list_select_related = ["persona"]
    list_per_page = 50
    search_fields = ["persona__name", "persona__owner__username"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # finished ones go by themselves, with their file
