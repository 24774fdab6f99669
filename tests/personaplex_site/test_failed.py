"""What a browser gets when a view fails."""

import json

import pytest
from django.db.utils import OperationalError


@pytest.fixture
def page(client, alice, monkeypatch):
    """The list of personas, whose view raises what a test says."""
    client.force_login(alice, "django.contrib.auth.backends.ModelBackend")
    client.raise_request_exception = False

    def get(error, accept="text/html"):
        def fails():
            raise error

        monkeypatch.setattr("personas.views.presets_on_offer", fails)
        return client.get("/", headers={"accept": accept})

    return get


def test_a_database_without_a_free_connection_is_a_moment_to_wait(page):
    answer = page(OperationalError("couldn't get a connection after 3.00 sec"))
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert b"try again in a moment" in answer.content
    assert b"connection after" not in answer.content
    answer = page(OperationalError("gone"), "application/json")
    assert json.loads(answer.content)["code"] == "database_away"


def test_our_own_mistake_is_no_such_thing(page):
    answer = page(ValueError("ours"))
    assert answer.status_code == 500
