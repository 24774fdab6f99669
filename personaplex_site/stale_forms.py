"""Forms of the admin whose row was changed since they were loaded.

Django's admin saves every field as its page showed it, so that a page which was opened
a while ago puts back what others have changed. Here the page carries what it showed. A
field that was not changed on it keeps its newer value; one that was changed on both
sides is shown again with the newer value beside it, and nothing is saved.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection
from django.forms import BoundField
from django.http import HttpRequest

MAX_SHOWN = 300  # characters of the newer value


class StaleFormMixin:
    """Of a ModelAdmin, before Django's class."""

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        made = super().get_form(request, *args, **kwargs)  # type: ignore[misc]
        return type(made.__name__, (_StaleForm, made), {})

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Locked while it is saved, so that it can't change after the check."""
        found = super().get_object(request, *args, **kwargs)  # type: ignore[misc]
        saving = request.method == "POST" and connection.in_atomic_block
        if found is not None and saving:
            rows = type(found)._base_manager.select_for_update(no_key=True)
            found.refresh_from_db(from_queryset=rows)
        return found


class _StaleForm:
    """Of a ModelForm. What the page showed are its hidden initial values."""

    fields: Any
    data: Any
    instance: Any
    cleaned_data: dict[str, Any]
    changed_data: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = not self.instance._state.adding

    def clean(self) -> Any:
        cleaned = super().clean()  # type: ignore[misc]
        conflicting = []
        for bound in self._newer():
            if bound.name not in self.changed_data:
                self.cleaned_data[bound.name] = self._saved(bound)
            elif bound.field.has_changed(bound.initial, bound.data):
                conflicting.append(bound)
        for bound in conflicting:
            self.add_error(bound.name, _changed(self._saved(bound)))  # type: ignore[attr-defined]
        self._show_newer(conflicting)
        return cleaned

    def _newer(self) -> list[BoundField]:
        """Fields whose saved value is no longer the one that the page showed."""
        if not any(name.startswith("initial-") for name in self.data):
            return []
        found = []
        for bound in self:  # type: ignore[attr-defined]
            hidden = bound.field.hidden_widget()
            name = bound.html_initial_name
            shown = hidden.value_from_datadict(self.data, {}, name)
            if not bound.field.disabled and bound.field.has_changed(
                bound.initial, shown
            ):
                found.append(bound)
        return found

    def _saved(self, bound: BoundField) -> Any:
        """With the microseconds that a widget leaves out."""
        field = self.instance._meta.get_field(bound.name)
        if field.many_to_many:
            return bound.initial
        return getattr(self.instance, bound.name)

    def _show_newer(self, conflicting: list[BoundField]) -> None:
        """The page that tells of the newer value has shown it: sent once more, it is
        what the person wants."""
        self.data = self.data.copy()
        for bound in conflicting:
            value = bound.field.prepare_value(bound.initial)
            widget = bound.field.hidden_widget()
            shown = widget.get_context(bound.html_initial_name, value, {})["widget"]
            parts = shown.get("subwidgets", [shown])
            for name in {part["name"] for part in parts}:
                self.data.pop(name, None)
            for part in parts:
                text = "" if part["value"] is None else str(part["value"])
                self.data.appendlist(part["name"], text)


def _changed(saved: Any) -> ValidationError:
    texts = (str(each) for each in saved) if isinstance(saved, list) else [str(saved)]
    text = ", ".join(texts) or "nothing"
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "…"
    return ValidationError(
        "Since you opened this page this was changed to “%(text)s”. Nothing was saved. "
        "Save again to put yours in its place.",
        "changed_meanwhile",
        {"text": text},
    )
