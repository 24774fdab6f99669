"""Accounts, and sign-ins and audit records for administrators: who signed in or tried
to, what was changed in the admin, and who looked at what belongs to others. These
records can't be written or deleted here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin

from personaplex_site.audit import LOOK
from personaplex_site.models import SignIn
from personaplex_site.sessions import seen_at_once
from personaplex_site.stale_forms import StaleFormMixin

admin.site.unregister([User, Group])


@admin.register(User)
class AccountAdmin(StaleFormMixin, UserAdmin):
    """Django's own, for which a page that is too old takes no permission back."""

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        with seen_at_once(request):
            return super().user_change_password(request, id, form_url)


@admin.register(Group)
class PermissionGroupAdmin(StaleFormMixin, GroupAdmin):
    pass


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("looks", "Looks at what belongs to others"), ("changes", "Changes")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[LogEntry]
    ) -> QuerySet[LogEntry]:
        match self.value():
            case "looks":
                return queryset.filter(action_flag=LOOK)
            case "changes":
                return queryset.exclude(action_flag=LOOK)
        return queryset


class RecordAdmin(ModelAdmin):
    """Of records, which are shown and never changed."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(LogEntry)
class LogEntryAdmin(RecordAdmin):
    list_display = ["action_time", "user", "content_type", "object_repr", "message"]
    list_filter = [KindFilter, "content_type"]
    list_select_related = ["user", "content_type"]
    list_per_page = 50
    search_fields = ["user__username", "object_id", "object_repr"]
    date_hierarchy = "action_time"
    fields = [*list_display, "object_id"]
    readonly_fields = fields

    @admin.display(description="What")
    def message(self, entry: LogEntry) -> str:
        return entry.get_change_message()


@admin.register(SignIn)
class SignInAdmin(RecordAdmin):
    """Only shown: rows go by themselves, and ``manage.py unlock_sign_in`` unlocks."""

    list_display = ["at", "name", "network", "succeeded"]
    list_filter = ["succeeded"]
    search_fields = ["name", "network"]
    ordering = ["-pk"]
    show_full_result_count = False
    list_per_page = 50
