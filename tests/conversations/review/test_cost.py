"""What the review of an hour costs: queries, and bytes read from the database."""

import pytest
from django.urls import reverse

from tests.conversations.hour import create_conversation, create_levels
from tests.conversations.what_was_read import what_was_read
from tests.load.review_cost import costs


@pytest.fixture
def hour(persona):
    return create_conversation(persona.current)


def test_the_review_of_an_hour(client, alice, hour):
    client.force_login(alice)
    read = {}
    for name in ("data", "levels", "levels"):
        with what_was_read() as reading:
            client.get(reverse(f"conversation_{name}", args=[hour.pk]))
        read[name] = reading
    # The timings, 36 bytes a frame, once; with the text and the page's figures.
    assert len(read["data"].of_the_log()) == 2
    assert len(read["data"].queries) == 5
    assert read["data"].bytes < 2_500_000
    # What the page asks again while the levels are being made.
    assert read["levels"].of_the_log() == []
    assert len(read["levels"].queries) == 5
    assert read["levels"].bytes < 10_000

    create_levels(hour)
    with what_was_read() as reading:
        response = client.get(reverse("conversation_levels", args=[hour.pk]))
    assert len(reading.queries) == 4
    assert len(response.content) < 50_000


@pytest.mark.parametrize(
    ("side", "queries", "most"),
    [("user", 2, 15e6), ("agent", 2, 31e6), ("both", 3, 46e6)],
)
def test_a_recording_of_an_hour_reads_each_side_once(
    client, alice, hour, side, queries, most
):
    client.force_login(alice)
    with what_was_read() as reading:
        client.get(reverse("conversation_recording", args=[hour.pk, side]))
    assert len(reading.of_the_log()) == queries
    assert reading.bytes < most


def test_the_load_script_measures_every_request_twice(client, alice, persona):
    client.force_login(alice)
    minute = create_conversation(persona.current, frames=760)
    rows = costs(client, minute, frames=760)
    assert [row.status for row in rows if "not ready" in row.request] == [202, 202]
    assert {row.status for row in rows if "not ready" not in row.request} == {200, 206}
    assert len(rows) == 2 * len({row.request for row in rows}) == 14
    log = {row.request for row in rows if row.log_queries}
    assert "page" not in log and "levels" not in log and "data" in log
    assert all(row.queries and row.milliseconds > 0 for row in rows)
