"""Who may pass: people who signed in, and machines on addresses of their own. And what
browsers are told about every page."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from csp.middleware import CSPMiddleware, PolicyParts
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from personaplex_site import policies


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
        return super().process_view(request, view_func, view_args, view_kwargs)


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
