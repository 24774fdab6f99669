"""What every page of ours may need to know about the site itself."""

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, str]:
    return {"csrf_cookie": settings.CSRF_COOKIE_NAME}
