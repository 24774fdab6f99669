"""Settings of the product's processes as tests start them: nothing has collected and
hashed the static files."""

from personaplex_site.settings import *  # noqa: F403
from personaplex_site.settings import STORAGES

STORAGES = {
    **STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
