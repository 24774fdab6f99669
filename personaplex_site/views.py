"""Pages of the site itself."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.views.decorators.cache import never_cache

from personaplex_site.front import health


@login_not_required
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """The web process answers at this address before a page process is asked. This is
    for Django served without one."""
    found = health.look()
    return JsonResponse(found, status=200 if health.works(found) else 503)


@login_not_required
def favicon(request: HttpRequest) -> HttpResponse:
    """For pages that do not name one, such as the admin's."""
    return redirect(static("img/favicon.svg"))
