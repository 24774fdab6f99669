"""Who signed in or tried to, for operators."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from personaplex_site.models import SignIn


@admin.register(SignIn)
class SignInAdmin(ModelAdmin):
    """Only shown: rows go by themselves, and ``manage.py unlock_sign_in`` unlocks."""

    list_display = ["at", "name", "network", "succeeded"]
    list_filter = ["succeeded"]
    search_fields = ["name", "network"]
    ordering = ["-pk"]
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
