"""Error answers: a page, or JSON for scripts.

Their codes and texts are here. It must not depend on models or views.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.http import HttpRequest, HttpResponseBase, JsonResponse

TRY_AGAIN = "Please try again in a moment."


@dataclass(frozen=True)
class Problem:
    code: str
    text: str
    retryable: bool = False


INTERNAL = Problem("internal", f"Something went wrong on our side. {TRY_AGAIN}", True)
UNAVAILABLE = Problem("unavailable", f"The site is too busy. {TRY_AGAIN}", True)
DATABASE_AWAY = Problem(
    "database_away",
    "The site's database can't be reached right now. Nothing was changed. " + TRY_AGAIN,
    True,
)
DISK_FULL = Problem(
    "disk_full",
    "The site has no room left, so nothing was kept. Its administrator has to free "
    "some disk space; please try again after that.",
    True,
)
FORM_TOO_OLD = Problem(
    "form_too_old",
    "This page is too old to be sent, or cookies are switched off for this site. "
    "Reload the page and send it once more.",
)
SIGNED_OUT = Problem(
    "signed_out",
    "You seem to be signed out. Sign in on this site in a new tab, then come back here "
    "and send it once more.",
)
UNKNOWN_NAME = Problem(
    "unknown_name",
    "The address in your browser's bar has a name that this site does not answer to. "
    "Its operator adds that name to the setting ALLOWED_HOSTS and starts it again.",
)
BY_STATUS = {
    400: Problem(
        "bad_request", "Something in this request has the wrong form or is too large."
    ),
    401: SIGNED_OUT,
    403: Problem("not_allowed", "Your account may not do that."),
    404: Problem("not_found", "It is not there any more, or belongs to another user."),
    405: Problem("wrong_method", "This address does not take such requests."),
    408: Problem("timeout", f"That took too long to arrive. {TRY_AGAIN}", True),
    413: Problem("too_large", "This is too large. Send a shorter piece."),
    429: Problem("too_many", "That was too often. Please wait a while.", True),
    500: INTERNAL,
    503: UNAVAILABLE,
    507: DISK_FULL,
}
REFUSED = Problem("refused", "The site can't answer this request.")


def wants_json(request: HttpRequest) -> bool:
    """Scripts say so; a browser that opens a page accepts HTML."""
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        return True
    return request.accepts("application/json") and not request.accepts("text/html")


def json_answer(problem: Problem, status: int) -> JsonResponse:
    answer = JsonResponse(asdict(problem), status=status)
    answer["Content-Length"] = str(len(answer.content))
    return answer


def as_json(response: HttpResponseBase) -> HttpResponseBase:
    """An error page of whatever made it, as JSON; its other headers stay."""
    status = response.status_code
    known = BY_STATUS.get(status, INTERNAL if status >= 500 else REFUSED)
    answer = json_answer(known, status)
    for name, value in response.items():
        if name not in ("Content-Type", "Content-Length"):
            answer[name] = value
    answer.cookies = response.cookies
    return answer
