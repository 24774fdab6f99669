"""Django as the page processes run it, and the web process where there are none.

The web process relays requests and tells in headers, which it takes from no client,
whose they are: Django sees the address and scheme that the web process saw.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
_django = get_wsgi_application()

from django.conf import settings  # noqa: E402
from django.db import close_old_connections  # noqa: E402

PEER, SCHEME = "HTTP_X_PERSONAPLEX_PEER", "HTTP_X_PERSONAPLEX_SCHEME"


def application(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    if PEER in environ:
        environ["REMOTE_ADDR"] = environ.pop(PEER)
        environ["wsgi.url_scheme"] = environ.pop(SCHEME, "http")
    if "CONTENT_LENGTH" not in environ and environ.get("wsgi.input_terminated"):
        # Django takes a body without a length for none. This one ends by itself.
        environ["CONTENT_LENGTH"] = str(settings.MAX_BODY_BYTES)
    made = _django(environ, start_response)
    if not getattr(made, "streaming", True):
        # A client that reads slowly keeps no connection meanwhile.
        close_old_connections()
    return made
