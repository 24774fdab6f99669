"""The site's settings, after the servers that they name have been started."""

from tests.embedded import ensure

ensure()

from personaplex_site.settings import *  # noqa: E402, F403
