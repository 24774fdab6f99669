"""A form that was not accepted is offered again, with all that was written in it.

For a page that was open while its person signed out, in again, or was signed out: its
token, or its session, is of before. The answer is a page with the same fields and a new
token, to be sent by a press of its button.

This does not weaken the protection against forms of other sites, which rests on their
pages not knowing a token. A page of ours with a token and with *their* fields would be
a way around it: so a form is offered again only if ``Origin``, which the browser itself
writes and no page can forge, says that it came from a page of this site. Nothing is
done by the first request; the second one is checked like any other. Passwords are never
put into a page, and neither are files, which a page cannot hold.
"""

from __future__ import annotations

from typing import NamedTuple

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.utils.http import escape_leading_slashes

from personaplex_site.origins import is_ours

TOKEN = "csrfmiddlewaretoken"
# Hidden in forms that have nothing to fill in: what they ask ("Delete Ada?") and what
# their button is called. Taken from the form, not the database: a browser that is
# signed out must not learn what a persona is called.
ASKS, BUTTON = "_asks", "_button"
# Not user input: what pages put into their forms themselves.
OF_PAGES = ("initial-", "keep-", "loaded", "draft", "form_id", "_", "next")
MIN_SHOWN = 20  # characters of a value without spaces


class Text(NamedTuple):
    label: str
    value: str


def offer(request: HttpRequest, signed_out: bool) -> HttpResponse | None:
    """The page; None for a form of which nothing can be offered again."""
    if request.method != "POST" or not _is_from_our_page(request):
        return None
    if request.FILES or any("password" in name for name in request.POST):
        return None
    fields = [
        (name, value)
        for name, values in request.POST.lists()
        for value in values
        if name != TOKEN
    ]
    deleting = request.path.endswith("/delete/")  # of the admin
    context = {
        "asks": request.POST.get(ASKS, "Delete it?" if deleting else ""),
        "button": request.POST.get(BUTTON, "Delete" if deleting else "Send it"),
        "action": escape_leading_slashes(request.get_full_path()),
        "fields": fields,
        "texts": _texts(fields),
        "signed_out": signed_out,
    }
    response = render(request, "send_again.html", context, status=403)
    response["Cache-Control"] = "no-store"
    return response


def give_token(request: HttpRequest) -> None:
    """A new cookie with the answer, for a script that sends its form once more. Other
    sites can neither read it nor the answer."""
    get_token(request)


def _is_from_our_page(request: HttpRequest) -> bool:
    origin = request.headers.get("Origin", "")
    return is_ours(origin, request.scheme or "http", request.get_host())


def _texts(fields: list[tuple[str, str]]) -> list[Text]:
    """What a person wrote, to be read and copied."""
    return [
        Text(name.replace("_", " ").capitalize(), value)
        for name, value in fields
        if not name.startswith(OF_PAGES)
        and (len(value) >= MIN_SHOWN or any(sign.isspace() for sign in value.strip()))
        and not _is_key(value)
    ]


def _is_key(value: str) -> bool:
    return len(value) == 36 and value.count("-") == 4 and " " not in value
