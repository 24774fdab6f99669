"""What every page of ours may need to know about the site itself."""

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, str]:
    names = {"csrf_cookie": settings.CSRF_COOKIE_NAME}
    return {**names, "url_prefix": settings.URL_PREFIX}
