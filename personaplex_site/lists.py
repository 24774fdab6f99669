"""Long lists in pages: which page of it, and what a person searches for.

It must not depend on models.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

MAX_SEARCH = 80  # characters, as the longest name

Row = TypeVar("Row", bound=Model)


def page_of(request: HttpRequest, rows: QuerySet[Row], size: int) -> Page[Any]:
    """The page that ``?page=`` asks for, or the nearest that there is."""
    return Paginator(rows, size).get_page(request.GET.get("page"))


def searched(request: HttpRequest) -> str:
    """What ``?q=`` asks for. PostgreSQL takes no null characters."""
    return request.GET.get("q", "").replace("\0", "").strip()[:MAX_SEARCH]
