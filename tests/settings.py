"""The site's settings, after the servers that they name have been started."""

from tests.embedded import ensure

ensure()

from personaplex_site.settings import *  # noqa: E402, F403

# Here the site shares its process and its machine with the tests.
MAX_LOOP_LAG_MS = 10_000
MAX_LOOP_CPU_PERCENT = 1_000
