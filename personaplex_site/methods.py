"""Addresses that show no page: they only take what a form of ours sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.views.decorators.http import require_POST

View = TypeVar("View", bound=Callable[..., Any])


def post_only(view: View) -> View:
    """Never the page that follows a sign-in: see SignInMiddleware."""
    guarded = require_POST(view)
    guarded.post_only = True  # type: ignore[attr-defined]
    return guarded


def is_post_only(view: Callable[..., Any]) -> bool:
    return getattr(view, "post_only", False)
