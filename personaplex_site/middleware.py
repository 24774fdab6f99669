"""Who may pass: people who signed in, and machines on addresses of their own. And what
browsers learn about every page."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import urlsplit

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import SuspiciousOperation
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.shortcuts import resolve_url
from django.utils.decorators import sync_and_async_middleware

from personaplex_site import policies, send_again
from personaplex_site.answers import wants_json
from personaplex_site.error_pages import bad_request
from personaplex_site.methods import is_post_only
from personaplex_site.origins import is_ours


class SignInMiddleware(LoginRequiredMiddleware):
    """Every view needs a signed-in person, unless it says ``login_not_required``.

    Views under /api/ are called by machines, which prove who they are with the
    worker secret; a redirect to a sign-in page would mean nothing to them.
    """

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[Any, ...],
        view_kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        if request.path_info.startswith("/api/"):
            return None
        refused = super().process_view(request, view_func, view_args, view_kwargs)
        if refused is None or request.method != "POST" or wants_json(request):
            return refused
        return send_again.offer(request, signed_out=True) or refused

    def handle_no_permission(
        self, request: HttpRequest, view_func: Callable[..., HttpResponseBase]
    ) -> HttpResponseRedirect:
        """Back to the page with the form: an address that takes forms may show none."""
        login = resolve_url(self.get_login_url(view_func))
        came_from = urlsplit(request.headers.get("Referer", ""))
        origin = f"{came_from.scheme}://{came_from.netloc}"
        host = request.get_host()
        if request.method == "POST" and is_ours(origin, request.scheme or "", host):
            return redirect_to_login(came_from.path, login)
        if request.method != "POST" and is_post_only(view_func):
            return HttpResponseRedirect(login)
        return super().handle_no_permission(request, view_func)


@sync_and_async_middleware
def permissions_middleware(get_response: Callable[[HttpRequest], Any]) -> Any:
    """What pages of ours, and frames in them, may ask a browser for."""
    policy = policies.PERMISSIONS
    if iscoroutinefunction(get_response):

        async def await_and_tell(request: HttpRequest) -> Any:
            response = await get_response(request)
            response.headers.setdefault("Permissions-Policy", policy)
            return response

        return await_and_tell

    def call_and_tell(request: HttpRequest) -> Any:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", policy)
        return response

    return call_and_tell


class ContentPolicyMiddleware(CSPMiddleware):
    """The admin's pages are not ours and need more than ours do."""

    def get_policy_parts(
        self,
        request: HttpRequest,
        response: HttpResponseBase,
        report_only: bool = False,
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith("/admin/") and not report_only:
            parts.update = {**(parts.update or {}), **policies.ADMIN_CONTENT}
        return parts


@sync_and_async_middleware
def nul_middleware(get_response: Callable[[HttpRequest], Any]) -> Any:
    """PostgreSQL takes no NUL in a text, whichever filter or session it came to.

    A session cookie with characters that no session has is taken for none.
    """

    def refused(request: HttpRequest) -> HttpResponse | None:
        session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
        if session and not session.isalnum():
            del request.COOKIES[settings.SESSION_COOKIE_NAME]
        if "%00" in request.META.get("QUERY_STRING", "") or "\0" in request.path_info:
            return bad_request(request, SuspiciousOperation("a NUL in the address"))
        return None

    if iscoroutinefunction(get_response):

        async def check_and_await(request: HttpRequest) -> Any:
            return refused(request) or await get_response(request)

        return check_and_await

    return lambda request: refused(request) or get_response(request)
