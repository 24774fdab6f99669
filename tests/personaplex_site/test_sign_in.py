import pytest
from django.urls import get_resolver

from tests.factories import UserFactory

PASSWORD = "correct horse battery"


@pytest.fixture
def carol(db):
    user = UserFactory(username="carol")
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client, password, address="10.0.0.1", **fields):
    data = {"username": "carol", "password": password, **fields}
    return client.post("/sign-in/", data, REMOTE_ADDR=address)


def test_the_right_password_leads_to_the_personas(client, carol):
    assert sign_in(client, PASSWORD).headers["Location"] == "/"
    assert client.get("/").status_code == 200


def test_or_to_the_page_that_was_wanted(client, carol):
    wanted = client.get("/personas/new/").headers["Location"]
    assert wanted == "/sign-in/?next=/personas/new/"
    response = sign_in(client, PASSWORD, next="/personas/new/")
    assert response.headers["Location"] == "/personas/new/"


def test_but_never_to_another_site(client, carol):
    response = sign_in(client, PASSWORD, next="https://evil.example/")
    assert response.headers["Location"] == "/"


def test_a_wrong_password_is_told(client, carol):
    response = sign_in(client, "wrong")
    assert "do not match" in response.content.decode()


def test_too_many_wrong_ones_close_the_name_from_there_only(client, carol, settings):
    settings.AXES_FAILURE_LIMIT = 3
    for _ in range(3):
        response = sign_in(client, "wrong")
    assert response.status_code == 429
    assert "Too many attempts" in response.content.decode()
    assert sign_in(client, PASSWORD).status_code == 429
    assert sign_in(client, PASSWORD, address="10.0.0.2").status_code == 302


def test_signing_out_needs_a_post_and_works(client, carol):
    client.force_login(carol)
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").headers["Location"] == "/sign-in/"
    assert client.get("/").status_code == 302


def names(patterns):
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from names(pattern.url_patterns)
        else:
            yield pattern


def test_every_other_view_needs_a_signed_in_person():
    """Views that let anybody in, by name: a new one has to be put here on purpose."""
    ours = [p for p in get_resolver().url_patterns if "admin" not in str(p.pattern)]
    public = {
        pattern.name
        for pattern in names(ours)
        if not getattr(pattern.callback, "login_required", True)
    }
    assert public - {"worker_heartbeat"} == {"login", "healthz"}
