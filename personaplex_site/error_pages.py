"""Errors of every request, whatever raised them: the causes that one can name, a page
where Django's would be empty, and JSON for who asked for JSON.

``bad_request``, ``server_error`` and ``form_refused`` are Django's handlers for errors
and for forms that failed the CSRF check. ``json_errors_middleware`` stands before all
others, so that it sees the answers of every one of them.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
)
from django.shortcuts import redirect, resolve_url
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.decorators import sync_and_async_middleware
from django.views import csrf, defaults

from personaplex_site import send_again
from personaplex_site.answers import (
    DATABASE_AWAY,
    DISK_FULL,
    FORM_TOO_OLD,
    SIGNED_OUT,
    UNKNOWN_NAME,
    Problem,
    as_json,
    json_answer,
    wants_json,
)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
RETRY_AFTER_S = 5
NO_PAGE_HERE = {
    "title": "There is no page at this address",
    "text": "It is for buttons on other pages of this site. Nothing was changed.",
}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A name that the site does not answer to is the operator's to add. The page says
    which setting, not which names there are; the log has the name."""
    if not isinstance(exception, DisallowedHost):
        return defaults.bad_request(request, exception)
    if wants_json(request):
        return json_answer(UNKNOWN_NAME, 400)
    context = {
        "title": "This site is not known by that name",
        "text": UNKNOWN_NAME.text,
    }
    return HttpResponse(render_to_string("unavailable.html", context), status=400)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django says no cause, but calls this while the exception is being handled."""
    error = sys.exc_info()[1]
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return _unavailable(request, DISK_FULL, 507, "The site's disk is full")
    if isinstance(error, OperationalError | InterfaceError):
        return _unavailable(request, DATABASE_AWAY, 503, "Please try again in a moment")
    return defaults.server_error(request)


def _unavailable(
    request: HttpRequest, problem: Problem, status: int, title: str
) -> HttpResponse:
    """The page asks nothing of the database."""
    if wants_json(request):
        response: HttpResponse = json_answer(problem, status)
    else:
        context = {"title": title, "text": problem.text}
        html = render_to_string("unavailable.html", context)
        response = HttpResponse(html, status=status)
    response["Retry-After"] = str(RETRY_AFTER_S)
    return response


@login_not_required
def form_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF check failed. Who asked for JSON gets a new token along, and may
    send the form once more with it."""
    if wants_json(request):
        send_again.give_token(request)
        return json_answer(FORM_TOO_OLD, 403)
    signed_out = not request.user.is_authenticated
    if signed_out and request.path == reverse("logout"):
        return redirect("login")
    offered = send_again.offer(request, signed_out)
    return offered or csrf.csrf_failure(request, reason)


@sync_and_async_middleware
def json_errors_middleware(get_response: Callable[[HttpRequest], Any]) -> Any:
    """Who asked for JSON gets no error page and is not led to the sign-in page."""
    if iscoroutinefunction(get_response):

        async def await_and_translate(request: HttpRequest) -> HttpResponseBase:
            return _translated(request, await get_response(request))

        return await_and_translate

    def call_and_translate(request: HttpRequest) -> HttpResponseBase:
        return _translated(request, get_response(request))

    return call_and_translate


def _translated(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if response.status_code < 300:
        return response
    if not wants_json(request):
        if isinstance(response, HttpResponseNotAllowed) and not response.content:
            _explain_method(response)
        return response
    if _leads_to_sign_in(response):
        return json_answer(SIGNED_OUT, 401)
    is_json = response.get("Content-Type", "").startswith("application/json")
    return response if response.status_code < 400 or is_json else as_json(response)


def _explain_method(response: HttpResponse) -> None:
    """Django's answer is an empty page."""
    response.content = render_to_string("unavailable.html", NO_PAGE_HERE).encode()
    response["Content-Length"] = str(len(response.content))


def _leads_to_sign_in(response: HttpResponseBase) -> bool:
    address = response.get("Location", "").partition("?")
    return bool(address[1]) and address[0] == resolve_url(settings.LOGIN_URL)
