"""test_floods.py, with uvicorn."""

import pytest

from tests.conversations.live.test_daphne import environment, new_site, site  # noqa: F401
from tests.conversations.live.test_floods import (  # noqa: F401
    generous,
    no_beats_needed,
    no_errors,
    test_floods_are_cut_off,
    test_pings_of_a_client_that_reads_nothing,
    test_so_are_those_of_sockets_that_expect_nothing,
)


@pytest.fixture
def server():
    return ["-m", "personaplex_site.uvicorn_server", "--fd"]
