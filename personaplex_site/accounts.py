"""Signing in and changing one's password: the only pages that look at passwords.

The limits come first, then the hash. ``CrowdMiddleware`` answers both refusals.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.deprecation import MiddlewareMixin

from personaplex_site.addresses import limited_network
from personaplex_site.hashing import HashingBusy
from personaplex_site.models import SignIn, TooManyAttempts
from personaplex_site.sessions import seen_at_once

log = logging.getLogger(__name__)

FIRST_ACCOUNT = "first-account.txt"  # as create_first_account writes it
MAX_NAME = SignIn._meta.get_field("name").max_length or 0  # as of accounts themselves


SIGN_IN, PASSWORD_CHANGE = "sign-in", "password change"  # what a password is asked for


@contextmanager
def attempt(request: HttpRequest, name: str, what: str = SIGN_IN) -> Iterator[None]:
    """Around the look at a password: it counts as failed if that raises."""
    address = request.META.get("REMOTE_ADDR", "")
    try:
        row = SignIn.objects.begin(name, limited_network(address))
    except TooManyAttempts as error:
        log.warning("%s: %r from %s not tried, %s", what, name, address, error)
        raise
    try:
        yield
    except HashingBusy:
        row.delete()
        raise
    except forms.ValidationError:
        log.warning("%s: wrong password for %r from %s", what, name, address)
        raise
    if what == SIGN_IN:
        row.succeed()
        log.info("sign-in: %r from %s", name, address)
    else:
        row.withdraw()


class SignInForm(AuthenticationForm):
    request: HttpRequest

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username", "")
        possible = 0 < len(name) <= MAX_NAME and self.cleaned_data.get("password")
        if not possible:
            raise self.get_invalid_login_error()
        with attempt(self.request, name):
            return super().clean()


class SignInView(auth_views.LoginView):
    form_class = SignInForm
    redirect_authenticated_user = True

    def get_redirect_url(self, request: HttpRequest | None = None) -> str:
        """Not back to this page, which Django takes for a loop and answers with 500."""
        wanted = super().get_redirect_url()
        here = self.request.path
        return "" if urlsplit(wanted).path == here else wanted


@method_decorator(login_not_required, name="dispatch")
class SignOutView(auth_views.LogoutView):
    """A browser that is signed out already is led to the sign-in page as well."""

    http_method_names = ["get", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """A link would let any other site sign people out: nothing happens."""
        return redirect("persona_list")


class PasswordForm(PasswordChangeForm):
    """One who found a browser signed in may not guess the password there either."""

    error_messages = {
        **PasswordChangeForm.error_messages,
        "password_incorrect": "That is not your current password.",
        "password_mismatch": "The new password was typed differently the second time.",
        "password_same": "This is your current password. Choose another one.",
    }

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request
        self.fields["old_password"].label = "Current password"
        self.fields["new_password2"].label = "New password, again"

    def clean_old_password(self) -> str:
        with attempt(self._request, self.user.get_username(), PASSWORD_CHANGE):
            return super().clean_old_password()

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned = self.cleaned_data
        new = cleaned.get("new_password1")
        if new and new == cleaned.get("old_password"):
            text = self.error_messages["password_same"]
            self.add_error("new_password1", forms.ValidationError(text))
        return cleaned


class PasswordView(auth_views.PasswordChangeView):
    """Django keeps this browser signed in; every other session of the account was
    made with the old password and counts no more."""

    form_class = PasswordForm
    template_name = "registration/password.html"
    success_url = reverse_lazy("persona_list")

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def form_valid(self, form: Any) -> HttpResponse:
        with seen_at_once(self.request):
            response = super().form_valid(form)
        name, address = self.request.user.get_username(), self.request.META
        log.info("%s: %r from %s", PASSWORD_CHANGE, name, address.get("REMOTE_ADDR"))
        forget_first_password(name)
        text = (
            "Your password was changed. All other browsers were signed out, and "
            "conversations in them end."
        )
        messages.success(self.request, text)
        return response


def forget_first_password(name: str) -> None:
    """The file that scripts/up names at the start, once it tells an old password."""
    path = settings.DATA_DIR / FIRST_ACCOUNT
    with suppress(OSError):
        if path.read_text().startswith(f"user name: {name}\n"):
            path.unlink()


@login_not_required
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """The admin has no page of its own for this: limits are kept in one place."""
    if request.user.is_authenticated:  # the admin redirected a user who is not staff
        raise PermissionDenied
    return redirect_to_login(request.GET.get("next") or reverse("admin:index"))


class CrowdMiddleware(MiddlewareMixin):
    """Says when to try again; anywhere, as the admin sets passwords too."""

    def process_exception(
        self, request: HttpRequest, error: Exception
    ) -> HttpResponse | None:
        if isinstance(error, TooManyAttempts):
            page, status = "registration/locked_out.html", 429
        elif isinstance(error, HashingBusy):
            page, status = "registration/busy.html", 503
        else:
            return None
        minutes = math.ceil(error.retry_after / 60)
        response = render(request, page, {"minutes": minutes}, status=status)
        response["Retry-After"] = str(error.retry_after)
        response["Cache-Control"] = "no-store"
        return response
